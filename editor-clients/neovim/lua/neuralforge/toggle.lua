--- Where suggestions are switched off: everywhere, in a language, a workspace or a buffer.
--- Invariant: the server is told what is said here, and both judge alike: what was said of the
--- buffer counts, else of the workspace, else of the language, else the settings; switched off
--- everywhere is off. All but what was said of buffers is kept over restarts.
local config = require('neuralforge.config')

local M = {}

---@alias neuralforge.Scope 'global'|'language'|'workspace'|'buffer'

---@type table<string, boolean>? What was said, by key; nil until it was read.
local said

local function file()
  return vim.fs.joinpath(vim.fn.stdpath('state') --[[@as string]], 'neuralforge', 'toggles.json')
end

local function read()
  local ok, lines = pcall(vim.fn.readfile, file())
  local found, kept = pcall(vim.json.decode, ok and table.concat(lines, '\n') or '')
  return found and type(kept) == 'table' and kept or {}
end

local function of_buffers(wanted)
  local found = {}
  for key, enabled in pairs(said) do
    if vim.startswith(key, 'buffer ') == wanted then
      found[key] = enabled
    end
  end
  return found
end

--- Take over what another Neovim has kept meanwhile, so that it is not written over.
local function refresh()
  said = said or {}
  said = vim.tbl_extend('force', read(), of_buffers(true))
end

local function write()
  local kept = of_buffers(false)
  vim.fn.mkdir(vim.fs.dirname(file()), 'p')
  vim.fn.writefile({ vim.json.encode(next(kept) and kept or vim.empty_dict()) }, file())
end

--- What a scope of a buffer is of: a language's id, a folder, a buffer's number.
---@param scope neuralforge.Scope
---@param bufnr integer
---@return string
local function target(scope, bufnr)
  if scope == 'language' then
    return vim.bo[bufnr].filetype
  elseif scope == 'workspace' then
    return vim.fs.root(bufnr, '.git') or vim.fn.getcwd()
  end
  return scope == 'buffer' and tostring(bufnr) or ''
end

local function key(scope, bufnr)
  return vim.trim(scope .. ' ' .. target(scope, bufnr))
end

--- What the user's settings of the server say of suggestions.
local function setting(name)
  return vim.tbl_get(config.options.settings, 'completion', name)
end

local function language_setting(bufnr)
  local languages = setting('languages') or {}
  local own = languages[vim.bo[bufnr].filetype]
  if own == nil then
    own = languages['*']
  end
  return own ~= false
end

--- The next less specific scope, which counts where nothing was said of one.
local WIDER = { buffer = 'workspace', workspace = 'language' }

--- Whether a scope of a buffer is on.
local function holds(scope, bufnr)
  said = said or read()
  local own = said[key(scope, bufnr)]
  if own ~= nil then
    return own
  elseif scope == 'global' then
    return setting('enabled') ~= false
  elseif scope == 'language' then
    return language_setting(bufnr)
  end
  return holds(WIDER[scope], bufnr)
end

--- Whether suggestions are on in a buffer.
---@param bufnr integer
---@return boolean
function M.is_on(bufnr)
  return holds('global', bufnr) and holds('buffer', bufnr)
end

local function tell(client, scope, bufnr)
  local uri = scope == 'document' and vim.uri_from_bufnr(bufnr) or nil
  local enabled = holds(scope == 'document' and 'buffer' or scope, bufnr)
  client:request('workspace/executeCommand', {
    command = 'neuralforge.completion.toggle',
    arguments = { { scope = scope, target = uri, enabled = enabled } },
  }, function() end, bufnr)
end

--- Tell a server what holds in a buffer that it has attached to.
---@param client vim.lsp.Client
---@param bufnr integer
function M.attached(client, bufnr)
  if not holds('buffer', bufnr) then
    tell(client, 'document', bufnr)
  end
end

--- The server's settings as a new server is to have them: switched off, it loads no base.
---@return table
function M.server_settings()
  local settings = config.server_settings()
  local completion = { completion = { enabled = holds('global', 0) } }
  return { neuralforge = vim.tbl_deep_extend('force', settings.neuralforge, completion) }
end

--- Tell every server what holds now; one that is switched off everywhere frees its engine.
local function spread(scope)
  for _, client in ipairs(vim.lsp.get_clients({ name = 'neuralforge' })) do
    local bufnrs = vim.tbl_keys(client.attached_buffers)
    if scope == 'global' then
      tell(client, 'global', bufnrs[1] or 0)
    else
      for _, bufnr in ipairs(vim.tbl_filter(vim.api.nvim_buf_is_valid, bufnrs)) do
        tell(client, 'document', bufnr)
      end
    end
  end
end

--- Switch a scope of a buffer over; back where it was, nothing is said of it any more.
---@param scope neuralforge.Scope
---@param bufnr integer
---@return boolean on, string key
function M.switch(scope, bufnr)
  refresh()
  local name, on = key(scope, bufnr), not holds(scope, bufnr)
  said[name] = nil
  if holds(scope, bufnr) ~= on then
    said[name] = on
  end
  write()
  spread(scope)
  return on, name
end

return M
