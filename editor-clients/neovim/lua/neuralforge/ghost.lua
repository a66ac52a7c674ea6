--- Ghost text drawn by this plugin: one suggestion after the cursor, without a debounce.
--- A buffer holds nothing of it before it is accepted. Knows the protocol's inline completion, not
--- who switches it on or which keys accept.
local edit = require('neuralforge.edit')
local text = require('neuralforge.text')

local api = vim.api
local METHOD = 'textDocument/inlineCompletion'
local NAMESPACE = api.nvim_create_namespace('neuralforge.ghost')
local INVOKED, AUTOMATIC = 1, 2

---@class neuralforge.Item
---@field text string with line breaks of one character
---@field row integer zero-based
---@field col integer byte
---@field tail string what stands right of the replaced text on its line
---@field crlf boolean
---@field raw table as it was sent

---@class neuralforge.Shown
---@field client_id integer
---@field items neuralforge.Item[]
---@field index integer

local M = {}

---@type integer? Milliseconds from the newest request to its ghost text.
M.latency_ms = nil
---@type table<integer, neuralforge.Shown?> by buffer
local shown = {}
---@type table<integer, { client: vim.lsp.Client, id: integer? }?> by buffer: under way
local asked = {}
---@type table<string, true> Suggestions that were reported as shown.
local reported = {}

local function inserting()
  return api.nvim_get_mode().mode:find('^i') ~= nil
end

local function cursor()
  local place = api.nvim_win_get_cursor(0)
  return place[1] - 1, place[2]
end

local function line_at(row)
  return api.nvim_buf_get_lines(0, row, row + 1, false)[1] or ''
end

--- The text between a suggestion's place and the cursor; nil where the cursor left it.
local function typed_since(item, row, col)
  if row < item.row or (row == item.row and col < item.col) then
    return nil
  end
  local ok, lines = pcall(api.nvim_buf_get_text, 0, item.row, item.col, row, col, {})
  return ok and table.concat(lines, '\n') or nil
end

--- What of the current suggestion is still to be written, and what it replaces.
---@return string? rest, string? replaced, neuralforge.Item?
local function remaining(bufnr)
  local state = shown[bufnr]
  local item = state and state.items[state.index]
  if not item then
    return nil
  end
  local row, col = cursor()
  local typed, right = typed_since(item, row, col), line_at(row):sub(col + 1)
  if not typed or not vim.startswith(item.text, typed) or not vim.endswith(right, item.tail) then
    return nil
  end
  local rest = item.text:sub(#typed + 1)
  return rest ~= '' and rest or nil, right:sub(1, #right - #item.tail), item
end

local function mark(bufnr, row, col, options)
  options.hl_mode = 'combine'
  api.nvim_buf_set_extmark(bufnr, NAMESPACE, row, col, options)
end

local function counter(state)
  return #state.items > 1 and (' (%d/%d)'):format(state.index, #state.items) or ''
end

local function draw_lines(bufnr, row, col, lines, hint)
  local below = {}
  for i = 2, #lines do
    below[i - 1] = { { lines[i], 'NeuralForgeGhost' } }
  end
  local last = below[#below]
  if last and hint ~= '' then
    table.insert(last, { hint, 'NeuralForgeHint' })
  elseif hint ~= '' then
    mark(
      bufnr,
      row,
      #line_at(row),
      { virt_text = { { hint, 'NeuralForgeHint' } }, virt_text_pos = 'eol' }
    )
  end
  mark(bufnr, row, col, { virt_lines = below })
end

local function draw_first(bufnr, row, col, line, replaced)
  local pieces = text.pieces(line, replaced)
  if not pieces then
    pieces = { { offset = 0, text = line } }
    mark(bufnr, row, col, { end_col = col + #replaced, hl_group = 'NeuralForgeReplaced' })
  end
  for _, piece in ipairs(pieces) do
    mark(bufnr, row, col + piece.offset, {
      virt_text = { { piece.text, 'NeuralForgeGhost' } },
      virt_text_pos = 'inline',
    })
  end
end

local function hide(bufnr)
  api.nvim_buf_clear_namespace(bufnr, NAMESPACE, 0, -1)
end

--- Tell the server about the suggestion on show.
local function report(state, method)
  local client = vim.lsp.get_client_by_id(state.client_id)
  if client then
    client:notify(method, { item = state.items[state.index].raw })
  end
end

local function report_shown(state)
  local id = vim.tbl_get(state.items[state.index].raw, 'command', 'arguments', 1)
  if id and not reported[id] then
    reported[id] = true
    report(state, 'textDocument/didShowCompletion')
  end
end

--- Draw what is left of the current suggestion; forget it where the text went another way.
local function draw(bufnr)
  hide(bufnr)
  local rest, replaced = remaining(bufnr)
  if not rest then
    shown[bufnr] = nil
    return
  end
  local row, col = cursor()
  local lines = vim.split(rest, '\n', { plain = true })
  draw_first(bufnr, row, col, lines[1], replaced)
  draw_lines(bufnr, row, col, lines, counter(shown[bufnr]))
  report_shown(shown[bufnr])
end

--- Where a suggestion begins and what it replaces: row, first byte, byte behind the last.
local function place_of(raw, encoding)
  if not raw.range then
    local row, col = cursor()
    return row, col, col
  end
  local line = line_at(raw.range.start.line)
  local function byte(position)
    return vim.str_byteindex(line, encoding, position.character, false)
  end
  return raw.range.start.line, byte(raw.range.start), byte(raw.range['end'])
end

local function item_of(raw, encoding)
  local row, col, stop = place_of(raw, encoding)
  local insert = raw.insertText
  return {
    text = (insert:gsub('\r\n', '\n')),
    row = row,
    col = col,
    tail = line_at(row):sub(stop + 1),
    crlf = insert:find('\r\n', 1, true) ~= nil,
    raw = raw,
  }
end

local function cancel(bufnr)
  local request = asked[bufnr]
  asked[bufnr] = nil
  if request and request.id then
    request.client:cancel_request(request.id)
  end
end

local function take(client, bufnr, result, began)
  local items = {}
  for _, raw in ipairs(result.items or result) do
    table.insert(items, item_of(raw, client.offset_encoding))
  end
  shown[bufnr] = { client_id = client.id, items = items, index = 1 }
  draw(bufnr)
  if shown[bufnr] then
    M.latency_ms = math.floor((vim.uv.hrtime() - began) / 1e6 + 0.5)
  end
end

local function request(client, bufnr, kind)
  cancel(bufnr)
  local began, tick = vim.uv.hrtime(), api.nvim_buf_get_changedtick(bufnr)
  local row, col = cursor()
  local params = vim.lsp.util.make_position_params(0, client.offset_encoding)
  params.context = { triggerKind = kind }
  local mine = { client = client }
  asked[bufnr] = mine
  local function handler(err, result)
    if asked[bufnr] ~= mine then
      return
    end
    asked[bufnr] = nil
    local now_row, now_col = cursor()
    local same = api.nvim_get_current_buf() == bufnr and now_row == row and now_col == col
    if err or not result or not same or not inserting() then
      return
    end
    if api.nvim_buf_get_changedtick(bufnr) == tick then
      take(client, bufnr, result, began)
    end
  end
  mine.id = select(2, client:request(METHOD, params, handler, bufnr))
end

--- Something was typed, or the cursor moved: keep what still fits, and ask again.
---@param client vim.lsp.Client
---@param bufnr integer
function M.changed(client, bufnr)
  draw(bufnr)
  request(client, bufnr, AUTOMATIC)
end

--- Ask for several suggestions to choose from.
---@param client vim.lsp.Client
---@param bufnr integer
function M.trigger(client, bufnr)
  request(client, bufnr, INVOKED)
end

--- Show another candidate.
---@param bufnr integer
---@param step integer
---@return boolean whether there is one
function M.cycle(bufnr, step)
  local state = shown[bufnr]
  if not state or #state.items < 2 then
    return false
  end
  state.index = (state.index - 1 + step) % #state.items + 1
  draw(bufnr)
  return true
end

--- Take everything away; nothing that is still under way will be shown.
---@param bufnr integer
function M.clear(bufnr)
  cancel(bufnr)
  shown[bufnr] = nil
  if api.nvim_buf_is_loaded(bufnr) then
    hide(bufnr)
  end
end

--- Take the suggestion away because the user does not want it, which the server is told.
---@param bufnr integer
---@return boolean whether something was on show
function M.dismiss(bufnr)
  local state = shown[bufnr]
  M.clear(bufnr)
  if state then
    report(state, 'textDocument/didDismissCompletion')
  end
  return state ~= nil
end

local function report_accepted(client, bufnr, item, rest, taken)
  if #taken == #rest then
    client:request('workspace/executeCommand', item.raw.command, function() end, bufnr)
    return
  end
  local units = text.units(item.text:sub(1, #item.text - #rest + #taken), item.crlf)
  client:notify(
    'textDocument/didPartiallyAcceptCompletion',
    { item = item.raw, acceptedLength = units }
  )
end

local function write(bufnr, part)
  local rest, replaced, item = remaining(bufnr)
  if not rest or api.nvim_get_current_buf() ~= bufnr then
    return
  end
  local client = vim.lsp.get_client_by_id(shown[bufnr].client_id)
  local taken = part and part(rest) or rest
  local whole = #taken == #rest
  edit.insert(bufnr, taken, whole and #replaced or 0)
  if whole then
    M.clear(bufnr)
  end
  if client then
    report_accepted(client, bufnr, item, rest, taken)
  end
end

--- Write the suggestion, or the part of it that `part` cuts off its beginning, as soon as the
--- buffer may be changed: a mapping with `expr` may not.
---@param bufnr integer
---@param part (fun(rest: string): string)?
---@return boolean whether there is one
function M.accept(bufnr, part)
  if not remaining(bufnr) then
    return false
  end
  vim.schedule(function()
    write(bufnr, part)
  end)
  return true
end

return M
