--- What happens in a buffer that the server has attached to: highlights, events, keys.
local builtin = require('neuralforge.builtin')
local config = require('neuralforge.config')
local ghost = require('neuralforge.ghost')
local text = require('neuralforge.text')
local toggle = require('neuralforge.toggle')

local api = vim.api
local M = {}

local group = api.nvim_create_augroup('neuralforge.buffers', {})

--- The client that completes a buffer.
---@param bufnr integer
---@return vim.lsp.Client?
local function client_of(bufnr)
  return vim.lsp.get_clients({ name = 'neuralforge', bufnr = bufnr })[1]
end

local function view(bufnr)
  return builtin.is_active(bufnr) and builtin or ghost
end

local function changed(bufnr)
  local client = client_of(bufnr)
  if not client or vim.fn.reg_executing() ~= '' or builtin.is_active(bufnr) then
    return
  end
  if toggle.is_on(bufnr) then
    ghost.changed(client, bufnr)
  else
    ghost.clear(bufnr)
  end
end

--- The actions that keys stand for; each says whether it had something to do.
---@type table<string, fun(bufnr: integer): boolean>
M.actions = {
  accept = function(bufnr)
    return view(bufnr).accept(bufnr)
  end,
  accept_word = function(bufnr)
    return view(bufnr).accept(bufnr, text.word)
  end,
  accept_line = function(bufnr)
    return view(bufnr).accept(bufnr, text.line)
  end,
  next = function(bufnr)
    return view(bufnr).cycle(bufnr, 1)
  end,
  previous = function(bufnr)
    return view(bufnr).cycle(bufnr, -1)
  end,
  dismiss = function(bufnr)
    return view(bufnr).dismiss(bufnr)
  end,
  trigger = function(bufnr)
    local client = client_of(bufnr)
    if client then
      view(bufnr).trigger(client, bufnr)
    end
    return client ~= nil
  end,
}

--- What a key did before it was ours: its mapping's keys, or itself.
local function before(mapping, key)
  if not mapping or vim.tbl_isempty(mapping) then
    return key
  end
  if mapping.callback then
    local result = mapping.callback()
    return mapping.expr == 1 and result or ''
  end
  return mapping.expr == 1 and api.nvim_eval(mapping.rhs) or mapping.rhs
end

local function map(bufnr, name, key)
  local former = vim.fn.maparg(key, 'i', false, true)
  if former.desc == 'NeuralForge: ' .. name then
    return
  end
  vim.keymap.set('i', key, function()
    return M.actions[name](bufnr) and '' or before(former, key)
  end, { buffer = bufnr, expr = true, desc = 'NeuralForge: ' .. name })
end

local function highlights()
  api.nvim_set_hl(0, 'NeuralForgeGhost', { default = true, link = 'Comment' })
  api.nvim_set_hl(0, 'NeuralForgeHint', { default = true, link = 'NonText' })
  api.nvim_set_hl(0, 'NeuralForgeReplaced', { default = true, strikethrough = true })
end

highlights()
api.nvim_create_autocmd('ColorScheme', { group = group, callback = highlights })

local function follow(bufnr)
  api.nvim_clear_autocmds({ group = group, buffer = bufnr })
  api.nvim_create_autocmd({ 'InsertEnter', 'CursorMovedI', 'TextChangedI', 'TextChangedP' }, {
    group = group,
    buffer = bufnr,
    callback = function()
      changed(bufnr)
    end,
  })
  api.nvim_create_autocmd({ 'InsertLeave', 'BufLeave' }, {
    group = group,
    buffer = bufnr,
    callback = function()
      ghost.clear(bufnr)
    end,
  })
end

--- Complete in a buffer from now on.
---@param bufnr integer
function M.attach(bufnr)
  toggle.attached(assert(client_of(bufnr)), bufnr)
  if config.options.ghost_text == 'builtin' then
    builtin.enable(bufnr)
  end
  follow(bufnr)
  require('neuralforge.welcome').once()
  for name, key in pairs(config.options.keymaps) do
    if key then
      map(bufnr, name, key)
    end
  end
end

return M
