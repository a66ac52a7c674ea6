--- How the server is found, started, watched and started again.
--- Invariant: a server that ends unasked is said once; it is started again a few times at most.
local client = require('neuralforge.client')
local config = require('neuralforge.config')
local status = require('neuralforge.status')
local toggle = require('neuralforge.toggle')

local M = {}

--- Servers that this client speaks with: same first two numbers of the version.
M.VERSION = '0.1'
local RESTARTS, WITHIN_SECONDS = 3, 120
local BACK_OFF_MS = 300

---@type number[] When servers ended unasked.
local ends = {}

--- The folder of the environment that `:NeuralForge install` makes.
---@return string
function M.environment()
  return vim.fs.joinpath(vim.fn.stdpath('data') --[[@as string]], 'neuralforge', 'server')
end

--- The program of that environment.
---@return string
function M.managed()
  local windows = vim.fn.has('win32') == 1
  return vim.fs.joinpath(
    M.environment(),
    windows and 'Scripts/neuralforge.exe' or 'bin/neuralforge'
  )
end

--- The command that starts the server without its subcommand; nil: there is none.
---@return string[]?
function M.find()
  local given = config.options.server.command
  if given then
    return given
  end
  if vim.fn.executable(M.managed()) == 1 then
    return { M.managed() }
  end
  local found = vim.fn.exepath('neuralforge')
  return found ~= '' and { found } or nil
end

--- Start it for every buffer that wants it and has none.
function M.start()
  vim.lsp.enable('neuralforge')
end

local function lately()
  local now = vim.uv.now() / 1000
  ends = vim.tbl_filter(function(at)
    return now - at < WITHIN_SECONDS
  end, ends)
  table.insert(ends, now)
  return #ends
end

local function ended(code, signal)
  if vim.v.exiting ~= vim.NIL then
    return
  end
  local how = signal ~= 0 and ('by signal %d'):format(signal) or ('with status %d'):format(code)
  if lately() > RESTARTS then
    client.say(
      ('the server ended %s again and again: run :checkhealth neuralforge'):format(how),
      vim.log.levels.ERROR
    )
    return
  end
  client.say(('the server ended %s; it is started again'):format(how), vim.log.levels.WARN)
  vim.defer_fn(M.start, BACK_OFF_MS)
end

--- Start the process; Neovim is told of a clean end, so that only we speak of another.
local function spawn(dispatchers, client_config)
  local told = dispatchers.on_exit
  dispatchers.on_exit = function(code, signal)
    if code ~= 0 or (signal ~= 0 and signal ~= 15) then
      vim.schedule(function()
        ended(code, signal)
      end)
    end
    told(0, 0)
  end
  local command =
    vim.list_extend(vim.deepcopy(M.find() or { 'neuralforge' }), { 'serve', '--stdio' })
  return vim.lsp.rpc.start(command, dispatchers, { cwd = client_config and client_config.root_dir })
end

local function check_version(started)
  local version = vim.tbl_get(started, 'server_info', 'version')
  if version and not vim.startswith(version, M.VERSION .. '.') then
    client.say(
      ('the server is version %s, this plugin needs %s: run :NeuralForge install'):format(
        version,
        M.VERSION
      ),
      vim.log.levels.ERROR
    )
  end
end

local function show_message(_, params)
  local levels = { vim.log.levels.ERROR, vim.log.levels.WARN, vim.log.levels.INFO }
  client.say(params.message, levels[params.type])
  return vim.NIL
end

--- The workspace of a buffer; one that holds no language yet gets no server.
local function root(bufnr, go)
  if vim.bo[bufnr].filetype == '' then
    return
  end
  if not M.find() then
    require('neuralforge.install').offer()
    return
  end
  go(vim.fs.root(bufnr, '.git'))
end

local function add_toggles(_, client_config)
  client_config.settings.neuralforge = toggle.server_settings().neuralforge
end

--- What `vim.lsp.config('neuralforge')` starts from.
---@return vim.lsp.Config
function M.lsp_config()
  return {
    cmd = spawn,
    root_dir = root,
    settings = config.server_settings(),
    before_init = add_toggles,
    capabilities = {
      textDocument = { inlineCompletion = { dynamicRegistration = false } },
      experimental = { neuralforge = { status = true } },
    },
    on_init = check_version,
    handlers = {
      ['window/showMessage'] = show_message,
      ['neuralforge/status'] = status.take,
      ['window/showMessageRequest'] = require('neuralforge.question').ask,
    },
  }
end

--- Neovim 0.12 fails at the end of a client that is attached to a buffer that was wiped out.
local function forget_wiped(running)
  for bufnr in pairs(running.attached_buffers) do
    if not vim.api.nvim_buf_is_valid(bufnr) then
      running.attached_buffers[bufnr] = nil
    end
  end
end

--- End the servers and start them anew; how often they have ended is forgotten.
function M.restart()
  ends = {}
  vim.tbl_map(forget_wiped, vim.lsp.get_clients({ name = 'neuralforge' }))
  vim.lsp.enable('neuralforge', false)
  local function gone()
    return #vim.lsp.get_clients({ name = 'neuralforge' }) == 0
  end
  vim.wait(5000, gone, 20)
  M.start()
end

return M
