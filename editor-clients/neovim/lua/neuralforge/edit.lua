--- The one way in which this plugin writes into a buffer.
local api = vim.api
local M = {}

--- Insert at the cursor, which moves behind it; undone by itself.
---@param bufnr integer
---@param inserted string
---@param replaced integer bytes right of the cursor that give way
function M.insert(bufnr, inserted, replaced)
  local place = api.nvim_win_get_cursor(0)
  local row, col = place[1] - 1, place[2]
  local lines = vim.split(inserted, '\n', { plain = true })
  vim.bo[bufnr].undolevels = vim.bo[bufnr].undolevels
  api.nvim_buf_set_text(bufnr, row, col, row, col + replaced, lines)
  local last = #lines[#lines] + (#lines == 1 and col or 0)
  api.nvim_win_set_cursor(0, { row + #lines, last })
end

return M
