--- `:NeuralForge status`: what a statusline is too short for.
local client = require('neuralforge.client')
local describe = require('neuralforge.describe')

local M = {}

local function share(value)
  return value and value ~= vim.NIL and ('%d %%'):format(math.floor(value * 100 + 0.5)) or '–'
end

local function milliseconds(value)
  return value and value ~= vim.NIL and ('%d ms'):format(math.floor(value + 0.5)) or '–'
end

local function of_log(log)
  if log == vim.NIL or log.error then
    return { 'Log         ' .. (log ~= vim.NIL and log.error or 'off') }
  end
  local all = log.overall
  return {
    ('Suggestions %d shown, %s accepted'):format(all.shown, share(all.acceptance_rate)),
    ('Latency     p50 %s, p95 %s'):format(
      milliseconds(all.latency_p50_ms),
      milliseconds(all.latency_p95_ms)
    ),
    ('Log         %.1f MB, %d samples not yet learned'):format(log.bytes / 1e6, log.new_samples),
  }
end

local function of_training(training)
  local trainer = training.trainer
  if training.running and trainer ~= vim.NIL then
    local step = ('step %d of %d'):format(trainer.step or 0, trainer.steps or 0)
    return (training.paused and 'paused at ' or '') .. step .. ' ' .. (trainer.message or '')
  end
  return training.reason ~= vim.NIL and training.reason or 'idle'
end

local function lines(status, training)
  return vim.list_extend({
    'Base        ' .. status.engine.base,
    'Engine      ' .. status.engine.state,
    'Stack       ' .. describe.entries(status.stack),
    'Learning    ' .. of_training(training),
  }, vim.list_extend(of_log(status.log), { 'Home        ' .. status.home }))
end

--- Show it in a window.
function M.open()
  client.execute('status', {}, function(status)
    client.execute('train.state', {}, function(training)
      require('neuralforge.window').open('NeuralForge', lines(status, training))
    end)
  end)
end

return M
