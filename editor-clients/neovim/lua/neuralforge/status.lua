--- What goes on, in one line: kept up to date by what the server tells.
local M = {}

---@type table<string|integer, { title: string, percentage: integer? }> Work on show by token.
local work = {}

--- A `$/progress` of the server.
---@param params { token: string|integer, value: table }
function M.progress(params)
  local value = params.value
  if value.kind == 'end' then
    work[params.token] = nil
  else
    local before = work[params.token] or {}
    work[params.token] = {
      title = value.title or before.title,
      percentage = value.percentage or before.percentage,
    }
  end
  vim.cmd.redrawstatus()
end

---@return string
function M.line()
  return 'NeuralForge'
end

return M
