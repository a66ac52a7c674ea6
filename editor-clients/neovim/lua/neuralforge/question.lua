--- Questions of the server: asked when nobody is typing.
local M = {}

local function answer(params, done)
  vim.ui.select(params.actions, {
    kind = 'neuralforge',
    prompt = params.message,
    format_item = function(action)
      return action.title
    end,
  }, done)
end

--- Call at once, or when the insert mode is left: a prompt would swallow what is being typed.
---@param go fun()
function M.when_idle(go)
  if vim.api.nvim_get_mode().mode == 'n' then
    vim.schedule(go)
    return
  end
  vim.api.nvim_create_autocmd('ModeChanged', {
    pattern = '*:n',
    once = true,
    callback = vim.schedule_wrap(go),
  })
end

--- `window/showMessageRequest`; called in a coroutine that waits for the answer.
function M.ask(_, params)
  local waiting = coroutine.running()
  M.when_idle(function()
    answer(params, function(choice)
      vim.schedule(function()
        coroutine.resume(waiting, choice or vim.NIL)
      end)
    end)
  end)
  return coroutine.yield()
end

return M
