--- The options of this client, with every default in one place.
--- The server's own settings pass through `settings` untouched: the server names a bad one.
local M = {}

---@class neuralforge.Options
M.defaults = {
  server = {
    ---@type string[]? The command that starts the server, instead of looking for one.
    command = nil,
    ---@type string? What pip installs: a requirement, or the path or address of a wheel or a
    --- checkout. Otherwise `neuralforge` from `index_url`, or the checkout that this plugin
    --- lies in; never that name from the public index, where it is another project's.
    package = nil,
    ---@type string? Address of the package index that has the server.
    index_url = nil,
  },
  ---@type 'own'|'builtin' Who draws: this plugin, at once, or `vim.lsp.inline_completion` (0.12).
  ghost_text = 'own',
  ---@type table<string, string|false> Keys of the insert mode; false leaves one out.
  keymaps = {
    accept = '<Tab>',
    accept_word = '<M-Right>',
    accept_line = '<M-C-Right>',
    next = '<M-]>',
    previous = '<M-[>',
    trigger = '<M-\\>',
    dismiss = '<C-]>',
  },
  ---@type table The server's settings, as docs/settings.md lists them, without the first word.
  settings = {},
}

---@type neuralforge.Options
M.options = vim.deepcopy(M.defaults)

local function is_command(value)
  return value == nil or (vim.islist(value) and #value > 0)
end

local function is_key(value)
  return value == false or (type(value) == 'string' and value ~= '')
end

--- Check options; raises an error that names the one that cannot be used.
---@param options neuralforge.Options
local function validate(options)
  vim.validate('server', options.server, 'table')
  vim.validate('server.command', options.server.command, is_command, true, 'list of strings')
  vim.validate('server.package', options.server.package, 'string', true)
  vim.validate('server.index_url', options.server.index_url, 'string', true)
  vim.validate('ghost_text', options.ghost_text, function(value)
    return value == 'own' or value == 'builtin'
  end, false, "'own' or 'builtin'")
  vim.validate('keymaps', options.keymaps, 'table')
  for name, key in pairs(options.keymaps) do
    vim.validate('keymaps.' .. name, key, is_key, false, 'a key, or false')
  end
  vim.validate('settings', options.settings, 'table')
end

local function unknown(given, known, path)
  for name, value in pairs(given) do
    local at = path .. name
    if known[name] == nil and at ~= 'server.command' and at ~= 'server.index_url' then
      error(('neuralforge: there is no option %q; see :help neuralforge-options'):format(at), 0)
    end
    if type(value) == 'table' and at ~= 'settings' and not vim.islist(value) then
      unknown(value, known[name], at .. '.')
    end
  end
end

--- Use these options from now on, with defaults for what they leave out.
---@param given neuralforge.Options?
function M.use(given)
  given = given or {}
  unknown(given, M.defaults, '')
  local options = vim.tbl_deep_extend('force', vim.deepcopy(M.defaults), given)
  validate(options)
  M.options = options
end

--- The server's settings as it asks for them; an empty table of Lua's would be sent as a list.
---@return table
function M.server_settings()
  local settings = M.options.settings
  return { neuralforge = next(settings) and settings or vim.empty_dict() }
end

return M
