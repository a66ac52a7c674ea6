--- Where suggestions are switched off: everywhere, in a language, a workspace or a buffer.
--- All but buffers are kept over restarts.
local M = {}

---@alias neuralforge.Scope 'global'|'language'|'workspace'|'buffer'
M.scopes = { 'global', 'language', 'workspace', 'buffer' }

---@type table<string, true>? Keys that are off; nil until they were read.
local off

local function file()
  return vim.fs.joinpath(vim.fn.stdpath('state'), 'neuralforge', 'off.json')
end

local function read()
  local ok, lines = pcall(vim.fn.readfile, file())
  local found, keys = pcall(vim.json.decode, ok and table.concat(lines, '\n') or '')
  return found and type(keys) == 'table' and keys or {}
end

local function write()
  local kept = {}
  for key in pairs(off) do
    if not vim.startswith(key, 'buffer ') then
      kept[key] = true
    end
  end
  vim.fn.mkdir(vim.fs.dirname(file()), 'p')
  vim.fn.writefile({ vim.json.encode(next(kept) and kept or vim.empty_dict()) }, file())
end

---@param scope neuralforge.Scope
---@param bufnr integer
---@return string
local function key(scope, bufnr)
  if scope == 'language' then
    return 'language ' .. vim.bo[bufnr].filetype
  elseif scope == 'workspace' then
    return 'workspace ' .. (vim.fs.root(bufnr, '.git') or vim.fn.getcwd())
  elseif scope == 'buffer' then
    return 'buffer ' .. bufnr
  end
  return 'global'
end

--- Whether suggestions are on in a buffer.
---@param bufnr integer
---@return boolean
function M.is_on(bufnr)
  off = off or read()
  return next(off) == nil
    or vim.iter(M.scopes):all(function(scope)
      return not off[key(scope, bufnr)]
    end)
end

--- Switch a scope of a buffer over.
---@param scope neuralforge.Scope
---@param bufnr integer
---@return boolean on, string key
function M.switch(scope, bufnr)
  off = off or read()
  local name = key(scope, bufnr)
  off[name] = not off[name] or nil
  write()
  return not off[name], name
end

return M
