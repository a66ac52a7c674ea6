--- Talking to the running server: commands in, results or one message out.
local M = {}

local MORE = ' … :NeuralForge messages'

--- Whether messages are shown in the last line, where a long one stops whoever types.
local function in_last_line()
  local source = debug.getinfo(vim.notify, 'S').source
  return source:sub(1, 1) ~= '@' or vim.startswith(source, '@vim/')
end

---@type string[] What was told in this session, oldest first.
M.told = {}

--- Tell the user something; what does not fit the last line is whole in `:NeuralForge messages`.
---@param message string
---@param level integer?
function M.say(message, level)
  local whole = 'NeuralForge: ' .. message:gsub('%s*\n%s*', ' ')
  table.insert(M.told, whole)
  local room = vim.o.columns - 12
  if vim.fn.strdisplaywidth(whole) > room and in_last_line() then
    whole = vim.fn.strcharpart(whole, 0, room - #MORE) .. MORE
  end
  vim.notify(whole, level or vim.log.levels.INFO)
end

--- The server of a buffer, or any that runs.
---@param bufnr integer?
---@return vim.lsp.Client?
function M.get(bufnr)
  local own = bufnr and vim.lsp.get_clients({ name = 'neuralforge', bufnr = bufnr })[1]
  return own or vim.lsp.get_clients({ name = 'neuralforge' })[1]
end

--- Run a command of the server; a refusal is shown as the server words it.
---@param name string without the first word
---@param arguments any[]
---@param on_result fun(result: any)?
---@param on_end fun()? called before that, and where it is refused
function M.execute(name, arguments, on_result, on_end)
  local client = M.get(vim.api.nvim_get_current_buf())
  if not client then
    M.say(
      'the server does not run; open a file, or run :checkhealth neuralforge',
      vim.log.levels.WARN
    )
    return
  end
  local params = { command = 'neuralforge.' .. name, arguments = arguments }
  client:request('workspace/executeCommand', params, function(err, result)
    if on_end then
      on_end()
    end
    if err then
      M.say(err.message, vim.log.levels.ERROR)
    elseif on_result then
      on_result(result)
    end
  end)
end

--- The result of a command, for the completion of arguments, which cannot wait long.
---@param name string
---@return any? nil where it did not come in time
function M.ask(name)
  local client = M.get(vim.api.nvim_get_current_buf())
  local params = { command = 'neuralforge.' .. name, arguments = {} }
  local answer = client and client:request_sync('workspace/executeCommand', params, 1000)
  return answer and answer.result
end

return M
