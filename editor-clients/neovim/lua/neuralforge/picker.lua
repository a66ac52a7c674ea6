--- Choosing by `vim.ui.select`: adapters and what to do with them, stacks, bases.
local client = require('neuralforge.client')
local describe = require('neuralforge.describe')
local status = require('neuralforge.status')

local M = {}

local function select(items, prompt, format, on_choice)
  if #items == 0 then
    client.say('there is nothing to choose from yet.')
    return
  end
  vim.ui.select(
    items,
    { prompt = prompt, format_item = format, kind = 'neuralforge' },
    function(item)
      vim.cmd.redraw() -- the list goes, so that what is said next does not wait for a key
      if item then
        on_choice(item)
      end
    end
  )
end

--- Say which stack a command has put in force.
---@param result { stack: table[] }
function M.say_stack(result)
  client.say('in force: ' .. describe.entries(result.stack))
end

local function rescale(row)
  vim.ui.input(
    { prompt = 'Scale of ' .. row.adapter .. ' (0 to 4): ', default = '1.0' },
    function(text)
      local scale = tonumber(text)
      if scale then
        client.execute('adapter.load', { row.adapter, scale }, M.say_stack)
      elseif text then
        client.say(('%q is no number'):format(text), vim.log.levels.ERROR)
      end
    end
  )
end

local function run(command)
  return function(row)
    client.execute(command, { row.adapter }, M.say_stack)
  end
end

local ACTIONS = {
  { title = 'Load it on top of the stack', run = run('adapter.load') },
  { title = 'Serve it alone', run = run('adapter.swap') },
  { title = 'Change its scale', run = rescale },
  { title = 'Take it out of the stack', run = run('adapter.unload') },
  { title = 'Go back to this version', run = run('adapter.rollback') },
}

local function title(action)
  return action.title
end

--- Choose a version of an adapter, then what happens with it.
function M.adapters()
  client.execute('adapter.list', {}, function(result)
    select(result.adapters, 'Adapters', describe.adapter, function(row)
      select(ACTIONS, row.adapter, title, function(action)
        action.run(row)
      end)
    end)
  end)
end

--- Choose a named stack and put it in force.
function M.stacks()
  client.execute('stack.list', {}, function(result)
    select(result.stacks, 'Stacks', describe.stack, function(row)
      client.execute('stack.use', { row.name }, M.say_stack)
    end)
  end)
end

local CHANGES = {
  already = '%s is in use already',
  switched = '%s is in use now',
  awaited = '%s is used as soon as the personal adapter is trained for it',
}

--- Use a base that is on this machine.
---@param name string
function M.use_base(name)
  client.execute('base.use', { name }, function(result)
    client.say((CHANGES[result.result] or '%s: ' .. result.result):format(name))
  end)
end

--- Fetch a base, with its progress on show, then use it.
---@param name string a preset, or `owner/repository[:file]`
function M.pull_base(name)
  client.execute('base.pull', { name }, function(pulled)
    M.use_base(pulled.name)
  end, status.show_work())
end

--- Choose a base; one that is not on this machine is fetched first.
function M.bases()
  client.execute('base.list', {}, function(result)
    select(result.bases, 'Bases', describe.base, function(row)
      local go = row.path == vim.NIL and M.pull_base or M.use_base
      go(row.name)
    end)
  end)
end

--- Look through the log; the chosen suggestion's file is opened where it was made.
---@param text string? sought in suggestions and paths
function M.log(text)
  local options = text and { text = text } or vim.empty_dict()
  client.execute('log.show', { options }, function(result)
    select(result.rows, 'Session log', describe.suggestion, function(row)
      vim.cmd.edit(vim.fn.fnameescape(row.path))
      pcall(vim.api.nvim_win_set_cursor, 0, { row.line + 1, row.character })
    end)
  end)
end

return M
