--- Pieces of suggestions: what a word and a line of one are, and how the protocol counts them.
--- Pure functions of strings; byte offsets unless said otherwise.
local M = {}

--- The next word: leading blanks, then letters or one run of other signs.
---@param text string
---@return string
function M.word(text)
  local found = vim.fn.matchstr(text, [[\v^\_s*%(\k+|%(\k@!\S)+)]])
  return found ~= '' and found or text
end

--- The rest of the line; where that is empty, the line break and the next line.
---@param text string
---@return string
function M.line(text)
  return text:match('^\n*[^\n]*')
end

--- Lengths as `textDocument/didPartiallyAcceptCompletion` counts: UTF-16 units of the text sent.
---@param text string
---@param crlf boolean whether its line breaks were sent as two characters
---@return integer
function M.units(text, crlf)
  local breaks = crlf and select(2, text:gsub('\n', '')) or 0
  return vim.str_utfindex(text, 'utf-16') + breaks
end

--- Where the parts of a line are to be drawn that a replaced text does not hold.
---@param line string the first line of the suggestion
---@param replaced string what stands right of the cursor and will be replaced
---@return { offset: integer, text: string }[]? pieces by offset in `replaced`; nil: it is no part
function M.pieces(line, replaced)
  local pieces, at = {}, 1
  local starts = vim.str_utf_pos(replaced)
  for i, start in ipairs(starts) do
    local character = replaced:sub(start, (starts[i + 1] or #replaced + 1) - 1)
    local found = line:find(character, at, true)
    if not found then
      return nil
    end
    if found > at then
      table.insert(pieces, { offset = start - 1, text = line:sub(at, found - 1) })
    end
    at = found + #character
  end
  if at <= #line then
    table.insert(pieces, { offset = #replaced, text = line:sub(at) })
  end
  return pieces
end

return M
