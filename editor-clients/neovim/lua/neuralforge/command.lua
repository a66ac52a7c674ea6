--- `:NeuralForge`: its subcommands and their completion.
local M = {}

function M.run() end

function M.complete()
  return {}
end

return M
