--- `:checkhealth neuralforge`: Neovim, the server, its own examination, the keys.
local config = require('neuralforge.config')
local server = require('neuralforge.server')

local health = vim.health
local M = {}

local function check_neovim()
  health.start('Neovim')
  if vim.fn.has('nvim-0.11') == 0 then
    health.error('Neovim is older than 0.11', 'Update Neovim.')
  elseif not vim.lsp.inline_completion and config.options.ghost_text == 'builtin' then
    health.warn('This Neovim has no ghost text of its own', "Set ghost_text = 'own'.")
  else
    health.ok(('Neovim %s, ghost text: %s'):format(vim.version(), config.options.ghost_text))
  end
end

--- One finding of `neuralforge doctor --json`.
local function report(finding)
  local said = finding.check .. ': ' .. finding.detail
  if finding.ok then
    health.ok(said)
  else
    health.error(said, finding.advice ~= '' and finding.advice or nil)
  end
end

local function examine(command)
  local call = vim.list_extend(vim.deepcopy(command), { 'doctor', '--json' })
  local started, result = pcall(function()
    return vim.system(call, { text = true }):wait(60000)
  end)
  local read, findings = pcall(vim.json.decode, started and result.stdout or '')
  if read and vim.islist(findings) then
    vim.tbl_map(report, findings)
  else
    local said = started and vim.trim(result.stderr) or tostring(result)
    health.error(table.concat(call, ' ') .. ' failed: ' .. said, 'Run :NeuralForge install.')
  end
end

local function check_server()
  health.start('Server')
  local command = server.find()
  if not command then
    health.error('There is no server', 'Run :NeuralForge install, or set server.command.')
    return
  end
  health.ok('Command: ' .. table.concat(command, ' '))
  local running = vim.lsp.get_clients({ name = 'neuralforge' })
  for _, one in ipairs(running) do
    local version = vim.tbl_get(one, 'server_info', 'version') or '?'
    health.ok(('Running: version %s for %s'):format(version, one.root_dir or 'single files'))
  end
  if #running == 0 then
    health.info('No server runs; one starts with the first file.')
  end
  examine(command)
end

local function check_keys()
  health.start('Keys')
  for name, key in vim.spairs(config.options.keymaps) do
    health.info(('%s: %s'):format(name, key or 'none'))
  end
end

--- Called by `:checkhealth`.
function M.check()
  check_neovim()
  check_server()
  check_keys()
end

return M
