--- Installs the server into an environment of this editor's own, by uv or by venv and pip.
--- Invariant: nothing is fetched before the user has said yes; what fails is one message with the
--- step that mends it.
local client = require('neuralforge.client')
local config = require('neuralforge.config')
local window = require('neuralforge.window')

local M = {}

local PYTHON = { 3, 11 }
local TAIL = 6
local OFFER = 'NeuralForge is not installed. Install its server now, from %s into %s?'
local NAME = 'neuralforge'
local NO_SOURCE = 'there is nothing to install the server from: set server.package to a checkout '
  .. 'or a wheel, or server.index_url to an index that has it (on the public one the name is '
  .. "another project's), then :NeuralForge install"

--- What went wrong by what pip or uv printed, with the step that mends it.
---@type { pattern: string, advice: string }[]
local FAILURES = {
  {
    pattern = 'llama.cpp.python',
    advice = 'llama-cpp-python has no wheel for this machine and could not be compiled: install a '
      .. 'C++ compiler and CMake (build-essential, Xcode tools, Build Tools for Visual Studio), '
      .. 'then :NeuralForge install',
  },
  {
    pattern = 'requires%-python',
    advice = 'the package needs a newer Python: install Python 3.11 or newer, or uv',
  },
  {
    pattern = 'no matching distribution',
    advice = 'the package source does not have it: check server.package and server.index_url',
  },
  {
    pattern = 'not found in the package registry',
    advice = 'the package source does not have it: check server.package and server.index_url',
  },
  {
    pattern = 'no space left',
    advice = 'the disk is full: make room, then :NeuralForge install',
  },
}
local NO_NETWORK = {
  'connection',
  'name resolution',
  'failed to fetch',
  'timed out',
  'network is unreachable',
  'error sending request',
}

---@param output string
---@return string
function M.advice(output)
  local said = output:lower()
  for _, words in ipairs(NO_NETWORK) do
    if said:find(words, 1, true) then
      return 'the package source cannot be reached: check the network, the proxy and '
        .. 'server.index_url, then :NeuralForge install'
    end
  end
  for _, failure in ipairs(FAILURES) do
    if said:find(failure.pattern) then
      return failure.advice
    end
  end
  local lines = vim.split(vim.trim(output), '\n')
  return lines[#lines] .. ': mend that, then :NeuralForge install'
end

--- A Python that is new enough.
---@return string? path, string? problem
local function find_python()
  local old
  for _, name in ipairs({ 'python3', 'python', 'python3.13', 'python3.12', 'python3.11' }) do
    local path = vim.fn.exepath(name)
    local said = path ~= '' and vim.system({ path, '--version' }, { text = true }):wait().stdout
      or ''
    local major, minor = said:match('(%d+)%.(%d+)')
    local version = { tonumber(major) or 0, tonumber(minor) or 0 }
    if vim.version.ge({ version[1], version[2], 0 }, { PYTHON[1], PYTHON[2], 0 }) then
      return path
    end
    old = old or (major and vim.trim(said))
  end
  local found = old and old .. ' is too old' or 'no Python was found'
  return nil, found .. ': install Python 3.11 or newer, or uv, then :NeuralForge install'
end

local function python_of(environment)
  local windows = vim.fn.has('win32') == 1
  return vim.fs.joinpath(environment, windows and 'Scripts/python.exe' or 'bin/python')
end

--- The checkout that this plugin lies in, if it lies in one.
---@return string?
local function checkout()
  local here = vim.fs.normalize(debug.getinfo(1, 'S').source:sub(2))
  local root = vim.fs.root(here, 'pyproject.toml')
  local file = root and io.open(vim.fs.joinpath(root, 'pyproject.toml'))
  local content = file and file:read('*a') or ''
  if file then
    file:close()
  end
  return content:find('\nname = "' .. NAME .. '"\n', 1, true) and root or nil
end

--- What is installed, as pip wants it named, and where from, in words.
---@return string? package, string? from
local function source()
  local options = config.options.server
  if options.package then
    return options.package, options.package
  elseif options.index_url then
    return NAME, options.index_url
  end
  local root = checkout()
  return root, root
end

---@return string[][]? steps, string? problem
local function plan(environment, training)
  local package = source()
  if not package then
    return nil, NO_SOURCE
  end
  package = package .. (training and '[train]' or '')
  local index = config.options.server.index_url
  local uv = vim.fn.exepath('uv')
  if uv ~= '' then
    local install = { uv, 'pip', 'install', '--python', python_of(environment), '--upgrade' }
    vim.list_extend(install, index and { '--default-index', index } or {})
    return {
      { uv, 'venv', '--clear', '--python', '>=3.11', environment },
      vim.list_extend(install, { package }),
    }
  end
  local python, problem = find_python()
  if not python then
    return nil, problem
  end
  local install = { python_of(environment), '-m', 'pip', 'install', '--upgrade', '--no-input' }
  vim.list_extend(install, { '--disable-pip-version-check', '--progress-bar', 'off' })
  vim.list_extend(install, index and { '--index-url', index } or {})
  return {
    { python, '-m', 'venv', '--clear', environment },
    vim.list_extend(install, { package }),
  }
end

--- A window with the newest lines of what runs.
local function progress()
  local said, bufnr = {}, window.open('Installing NeuralForge', { '' }, false)
  local function show(text)
    vim.list_extend(said, vim.split(vim.trim(text), '\n'))
    window.set(bufnr, vim.list_slice(said, math.max(1, #said - TAIL + 1)))
  end
  local function close()
    if vim.api.nvim_buf_is_valid(bufnr) then
      vim.api.nvim_buf_delete(bufnr, { force = true })
    end
  end
  return show, close
end

--- Run commands one after the other; `done` gets nil, or what the one that failed has printed.
local function run(steps, show, done)
  local step = table.remove(steps, 1)
  if not step then
    return done(nil)
  end
  show('$ ' .. vim.fs.basename(step[1]) .. ' ' .. table.concat(vim.list_slice(step, 2), ' '))
  local printed = {}
  local function hear(_, data)
    if data then
      table.insert(printed, data)
      vim.schedule(function()
        show(data)
      end)
    end
  end
  vim.system(step, { text = true, stdout = hear, stderr = hear }, function(result)
    vim.schedule(function()
      if result.code == 0 then
        run(steps, show, done)
      else
        done(table.concat(printed))
      end
    end)
  end)
end

local function prepare(environment, training)
  local parent = vim.fs.dirname(environment)
  local made = pcall(vim.fn.mkdir, parent, 'p')
  if not made or vim.fn.filewritable(parent) ~= 2 then
    return nil, parent .. ' cannot be written: make it writable, or set XDG_DATA_HOME'
  end
  return plan(environment, training)
end

--- Install the server, or the newest version of it, and start it.
---@param training boolean? Also what the trainer needs: PyTorch, about 1 GB.
function M.run(training)
  local server = require('neuralforge.server')
  local steps, problem = prepare(server.environment(), training)
  if not steps then
    client.say(problem --[[@as string]], vim.log.levels.ERROR)
    return
  end
  local show, close = progress()
  run(steps, show, function(output)
    close()
    if output then
      client.say(M.advice(output), vim.log.levels.ERROR)
    else
      server.restart()
    end
  end)
end

local offered = false

--- Ask once whether to install the server.
function M.offer()
  if offered then
    return
  end
  offered = true
  local _, from = source()
  if not from then
    return client.say(NO_SOURCE, vim.log.levels.WARN)
  end
  local question = OFFER:format(from, require('neuralforge.server').environment())
  local choices = { 'Install', 'Install with training (about 1 GB more)', 'Not now' }
  require('neuralforge.question').when_idle(function()
    vim.ui.select(choices, { prompt = question }, function(choice)
      if choice == choices[1] or choice == choices[2] then
        M.run(choice == choices[2])
      else
        client.say(':NeuralForge install installs it later')
      end
    end)
  end)
end

return M
