--- NeuralForge in Neovim: code completion on this machine that learns its user.
--- `setup()` takes options and starts the server; `vim.lsp.enable('neuralforge')` alone does too.
local M = {}

--- Use these options (see :help neuralforge-options) and start the server.
---@param options neuralforge.Options?
function M.setup(options)
  local config = require('neuralforge.config')
  config.use(options)
  vim.lsp.config('neuralforge', { settings = config.server_settings() })
  vim.lsp.enable('neuralforge')
end

--- What a statusline shows; empty where the server does not run.
---@return string
function M.statusline()
  return require('neuralforge.status').line()
end

local function action(name)
  return function()
    local bufnr = vim.api.nvim_get_current_buf()
    return require('neuralforge.attach').actions[name](bufnr)
  end
end

--- For mappings of one's own; each says whether it had something to do.
M.accept = action('accept')
M.accept_word = action('accept_word')
M.accept_line = action('accept_line')
M.next = action('next')
M.previous = action('previous')
M.trigger = action('trigger')
M.dismiss = action('dismiss')

return M
