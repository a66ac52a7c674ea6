--- The one screen of the first start: what is kept, where, and which keys there are.
local client = require('neuralforge.client')
local config = require('neuralforge.config')

local M = {}

local function marker()
  return vim.fs.joinpath(vim.fn.stdpath('state') --[[@as string]], 'neuralforge', 'welcomed')
end

local function key(name)
  return config.options.keymaps[name] or ('(:lua require("neuralforge").%s())'):format(name)
end

---@param status table the result of `neuralforge.status`
---@return string[]
local function lines(status)
  local profile = vim.fs.joinpath(status.home, 'profiles', status.profile)
  return {
    'Completions come from this machine and work at once, with the embedded base.',
    '',
    'What is kept, for you alone to read:',
    '  what was suggested, whether you took it, and what stayed of it;',
    '  your finished edits, with the lines around them.',
    '  Secrets are taken out before anything is written.',
    'Where: ' .. profile,
    'Nothing leaves this machine. A repository is learned from after you said yes.',
    '',
    ('%s takes a suggestion, %s a word, %s a line;'):format(
      key('accept'),
      key('accept_word'),
      key('accept_line')
    ),
    ('%s asks for several, %s and %s go through them, %s dismisses.'):format(
      key('trigger'),
      key('next'),
      key('previous'),
      key('dismiss')
    ),
    '',
    ':NeuralForge log             what was kept        :NeuralForge purge   deletes it',
    ':NeuralForge toggle          off and on           :NeuralForge bases   a larger base',
    ':help neuralforge            everything else      q                    closes this',
  }
end

--- Show it.
function M.open()
  client.execute('status', {}, function(status)
    require('neuralforge.window').open('NeuralForge', lines(status))
  end)
end

--- Show it once on this machine, when nobody is typing.
function M.once()
  if vim.uv.fs_stat(marker()) then
    return
  end
  vim.fn.mkdir(vim.fs.dirname(marker()), 'p')
  vim.fn.writefile({}, marker())
  require('neuralforge.question').when_idle(M.open)
end

return M
