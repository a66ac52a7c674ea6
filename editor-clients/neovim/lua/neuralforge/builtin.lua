--- Ghost text by Neovim's own `vim.lsp.inline_completion` (0.12 or newer), for who prefers it.
--- It waits 200 ms after each key, and reports only what was accepted through this plugin.
local edit = require('neuralforge.edit')
local text = require('neuralforge.text')

local M = {}

---@return table? Neovim's module, where it has one
local function module()
  return vim.lsp.inline_completion
end

--- Whether Neovim draws the suggestions of a buffer, by this plugin's option or by the user's own.
---@param bufnr integer
---@return boolean
function M.is_active(bufnr)
  local inline = module()
  local client = vim.lsp.get_clients({ name = 'neuralforge', bufnr = bufnr })[1]
  return inline ~= nil
    and client ~= nil
    and inline.is_enabled({ bufnr = bufnr, client_id = client.id })
end

--- Let Neovim draw in a buffer, whichever server suggests.
---@param bufnr integer
function M.enable(bufnr)
  local inline = module()
  if inline then
    inline.enable(true, { bufnr = bufnr })
  end
end

--- How much of an item stands left of the cursor already.
local function typed_of(bufnr, item)
  if not item.range then
    return 0
  end
  local row, col = unpack(vim.api.nvim_win_get_cursor(0))
  local start_row, start_col = item.range:to_extmark()
  local lines = vim.api.nvim_buf_get_text(bufnr, start_row, start_col, row - 1, col, {})
  return #table.concat(lines, '\n')
end

--- Write a part of an item; nil, so that Neovim does not write it too, or the item, if it is all.
local function write_part(bufnr, item, part)
  local typed = typed_of(bufnr, item)
  local rest = item.insert_text:sub(typed + 1)
  local taken = part(rest)
  if #taken == #rest then
    return item
  end
  edit.insert(bufnr, taken, 0)
  local client = vim.lsp.get_client_by_id(item.client_id)
  if client then
    client:notify('textDocument/didPartiallyAcceptCompletion', {
      item = { insertText = item.insert_text, command = item.command },
      acceptedLength = text.units(item.insert_text:sub(1, typed + #taken), false),
    })
  end
end

--- Write the suggestion on show, or a part of it.
---@param bufnr integer
---@param part (fun(rest: string): string)?
---@return boolean
function M.accept(bufnr, part)
  return module().get({
    bufnr = bufnr,
    on_accept = part and function(item)
      return write_part(bufnr, item, part)
    end,
  })
end

--- Show another candidate.
---@param bufnr integer
---@param step integer
---@return boolean
function M.cycle(bufnr, step)
  module().select({ bufnr = bufnr, count = step })
  return true
end

--- Neovim offers no way to take a suggestion away.
---@return boolean
function M.dismiss()
  return false
end

--- Neovim offers no way to ask: say who does.
function M.trigger()
  local advice = "Neovim's own ghost text cannot be asked for; set ghost_text = 'own'."
  vim.notify('NeuralForge: ' .. advice, vim.log.levels.WARN)
end

return M
