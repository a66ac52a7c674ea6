--- A floating window with text that closes by `q` or `<Esc>`.
local api = vim.api
local M = {}

local function size(title, lines)
  local width = vim.fn.strdisplaywidth(title) + 4
  for _, line in ipairs(lines) do
    width = math.max(width, vim.fn.strdisplaywidth(line))
  end
  return math.min(width + 2, vim.o.columns - 4), math.min(#lines, vim.o.lines - 4)
end

--- Show lines; returns the buffer, which `M.set` writes.
---@param title string
---@param lines string[]
---@param enter boolean? whether the cursor goes there; the default
---@return integer bufnr
function M.open(title, lines, enter)
  local bufnr = api.nvim_create_buf(false, true)
  vim.bo[bufnr].bufhidden = 'wipe'
  M.set(bufnr, lines)
  local width, height = size(title, lines)
  local window = api.nvim_open_win(bufnr, enter ~= false, {
    relative = 'editor',
    row = math.max(0, math.floor((vim.o.lines - height) / 2) - 1),
    col = math.floor((vim.o.columns - width) / 2),
    width = width,
    height = height,
    style = 'minimal',
    border = 'rounded',
    title = ' ' .. title .. ' ',
  })
  vim.wo[window].wrap = true
  for _, key in ipairs({ 'q', '<Esc>' }) do
    vim.keymap.set('n', key, '<Cmd>close<CR>', { buffer = bufnr, nowait = true })
  end
  return bufnr
end

--- Replace the text of such a window, which grows with it.
---@param bufnr integer
---@param lines string[]
function M.set(bufnr, lines)
  if not api.nvim_buf_is_valid(bufnr) then
    return
  end
  vim.bo[bufnr].modifiable = true
  api.nvim_buf_set_lines(bufnr, 0, -1, false, lines)
  vim.bo[bufnr].modifiable = false
  local window = vim.fn.bufwinid(bufnr)
  if window ~= -1 then
    local width, height = size('', lines)
    api.nvim_win_set_width(window, math.max(width, api.nvim_win_get_width(window)))
    api.nvim_win_set_height(window, math.max(height, api.nvim_win_get_height(window)))
  end
end

return M
