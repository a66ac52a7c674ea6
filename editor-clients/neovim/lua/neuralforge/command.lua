--- `:NeuralForge`: its subcommands and their completion.
local client = require('neuralforge.client')
local picker = require('neuralforge.picker')

local M = {}

local ERROR = vim.log.levels.ERROR

local function names(command, list, key)
  return function()
    local result = client.ask(command)
    return vim.tbl_map(function(row)
      return row[key]
    end, result and result[list] or {})
  end
end

local adapters = names('adapter.list', 'adapters', 'adapter')
local stacks = names('stack.list', 'stacks', 'name')
local bases = names('base.list', 'bases', 'name')

local function words(...)
  local fixed = { ... }
  return function()
    return fixed
  end
end

--- A command of the server whose arguments are the words, numbers as such.
local function pass(command, on_result)
  return function(arguments)
    local values = vim.tbl_map(function(word)
      return tonumber(word) or word
    end, arguments)
    client.execute(command, values, on_result)
  end
end

--- A command of the server that takes nothing, and what to say when it is done.
local function order(command, said)
  return function()
    client.execute(command, {}, function()
      client.say(said)
    end)
  end
end

local function repository()
  return vim.fs.root(0, '.git')
end

--- Go on with the folder of this file's repository, or say that there is none.
local function with_repository(go)
  local found = repository()
  if found then
    go(found)
  else
    client.say('this file lies in no git repository', vim.log.levels.WARN)
  end
end

--- The version that a training brought; where it brought none, the server speaks itself.
local function say_outcome(state)
  local trainer = state.trainer
  if trainer ~= vim.NIL and trainer.state == 'done' and trainer.version ~= vim.NIL then
    client.say('the training has ended: ' .. trainer.version .. ': ' .. trainer.message)
  end
end

local function train(arguments)
  local function start(options)
    client.execute('train.now', { options }, function()
      require('neuralforge.status').when_ended('Learning from', function()
        client.execute('train.state', {}, say_outcome)
      end)
      client.say('the training has started; :NeuralForge status shows how far it is')
    end)
  end
  if arguments[1] == 'session' then
    start(vim.empty_dict())
  else
    with_repository(function(root)
      start({ repository = root })
    end)
  end
end

local function consent(arguments)
  with_repository(function(root)
    client.execute('consent', { root, arguments[1] or 'yes' }, function(result)
      local name = vim.fs.basename(result.repository)
      client.say(('learning from %s: %s'):format(name, result.answer))
    end)
  end)
end

local function delete(options)
  client.execute('log.purge', { options }, function(gone)
    client.say(('%d suggestions and %d edits are deleted'):format(gone.suggestions, gone.edits))
  end)
end

local function purge(arguments)
  local what = arguments[1]
  if what == 'repository' then
    with_repository(function(root)
      delete({ repository = root })
    end)
  elseif what == 'everything' then
    local sure = vim.fn.confirm('Delete the whole session log and replay buffer?', '&Yes\n&No', 2)
    if sure == 1 then
      delete({ everything = true })
    end
  elseif tonumber(what) then
    delete({ older_than_days = tonumber(what) })
  else
    client.say(
      'say what to delete: everything, repository, or a number of days',
      vim.log.levels.WARN
    )
  end
end

local scopes = words('global', 'language', 'workspace', 'buffer')

local function toggle(arguments)
  local bufnr = vim.api.nvim_get_current_buf()
  local scope = arguments[1] or 'global'
  if not vim.list_contains(scopes(), scope) then
    client.say(('there is no scope %q; see :help :NeuralForge-toggle'):format(scope), ERROR)
    return
  end
  local on, key = require('neuralforge.toggle').switch(scope, bufnr)
  if not on then
    require('neuralforge.ghost').clear(bufnr)
  end
  client.say(('suggestions are %s: %s'):format(on and 'on' or 'off', key))
end

--- Subcommands: what they do, and what their first argument may be.
---@type table<string, { run: fun(arguments: string[]), complete: (fun(): string[])? }>
M.subcommands = {
  adapters = { run = picker.adapters },
  load = { run = pass('adapter.load', picker.say_stack), complete = adapters },
  unload = { run = pass('adapter.unload', picker.say_stack), complete = adapters },
  swap = { run = pass('adapter.swap', picker.say_stack), complete = adapters },
  scale = { run = pass('adapter.scale', picker.say_stack), complete = adapters },
  rollback = { run = pass('adapter.rollback', picker.say_stack), complete = adapters },
  export = {
    run = function(arguments)
      local path = vim.fs.normalize(vim.fn.fnamemodify(arguments[1] or 'personal.zip', ':p'))
      client.execute('adapter.export', { path, arguments[2] }, function(result)
        client.say('exported to ' .. result.path)
      end)
    end,
    complete = function()
      return vim.fn.getcompletion('', 'file')
    end,
  },
  stacks = { run = picker.stacks },
  ['stack-use'] = { run = pass('stack.use', picker.say_stack), complete = stacks },
  ['stack-save'] = {
    run = pass('stack.save', function(result)
      client.say('the stack is kept as ' .. result.name)
    end),
  },
  ['stack-remove'] = {
    run = pass('stack.remove', function(result)
      client.say('the stack is forgotten: ' .. result.name)
    end),
    complete = stacks,
  },
  bases = { run = picker.bases },
  ['base-use'] = {
    run = function(arguments)
      picker.use_base(arguments[1])
    end,
    complete = bases,
  },
  ['base-pull'] = {
    run = function(arguments)
      picker.pull_base(arguments[1])
    end,
    complete = bases,
  },
  ['base-stop'] = {
    run = function()
      if not require('neuralforge.status').end_work('Fetching') then
        client.say('no base is being fetched')
      end
    end,
  },
  train = { run = train, complete = words('repository', 'session') },
  pause = { run = order('train.pause', 'training waits until :NeuralForge resume') },
  resume = { run = order('train.resume', 'training goes on') },
  skip = { run = order('train.skip', 'the training ends; its samples are never used') },
  cancel = { run = order('train.cancel', 'the training ends; its samples stay new') },
  status = {
    run = function()
      require('neuralforge.details').open()
    end,
  },
  report = {
    run = function()
      client.execute('report.write', {}, function(result)
        client.say('the report is ' .. result.path)
        vim.ui.open(result.uri)
      end)
    end,
  },
  log = {
    run = function(arguments)
      picker.log(arguments[1] and table.concat(arguments, ' '))
    end,
  },
  messages = {
    run = function()
      require('neuralforge.window').open('NeuralForge', client.told)
    end,
  },
  purge = { run = purge, complete = words('everything', 'repository', '30') },
  consent = { run = consent, complete = words('yes', 'no') },
  toggle = { run = toggle, complete = scopes },
  welcome = {
    run = function()
      require('neuralforge.welcome').open()
    end,
  },
  install = {
    run = function()
      require('neuralforge.install').run()
    end,
  },
  restart = {
    run = function()
      require('neuralforge.server').restart()
    end,
  },
}

---@param arguments string[]
function M.run(arguments)
  local name = arguments[1] or 'status'
  local subcommand = M.subcommands[name]
  if not subcommand then
    client.say(('there is no subcommand %q; see :help :NeuralForge'):format(name), ERROR)
    return
  end
  subcommand.run(vim.list_slice(arguments, 2))
end

local function beginning_with(lead, candidates)
  table.sort(candidates)
  return vim.tbl_filter(function(candidate)
    return vim.startswith(candidate, lead)
  end, candidates)
end

---@param lead string
---@param line string
---@return string[]
function M.complete(lead, line)
  local given = vim.split(vim.trim(line), '%s+')
  local subcommand = M.subcommands[given[2]]
  if #given > 2 or (#given == 2 and lead == '') then
    return beginning_with(lead, subcommand and subcommand.complete and subcommand.complete() or {})
  end
  return beginning_with(lead, vim.tbl_keys(M.subcommands))
end

return M
