--- Registers the command and follows the server; everything else is loaded when it is used.
if vim.g.loaded_neuralforge then
  return
end
vim.g.loaded_neuralforge = true

if vim.fn.has('nvim-0.11') == 0 then
  vim.notify('NeuralForge needs Neovim 0.11 or newer: update Neovim.', vim.log.levels.ERROR)
  return
end

vim.api.nvim_create_user_command('NeuralForge', function(call)
  require('neuralforge.command').run(call.fargs)
end, {
  nargs = '*',
  desc = 'NeuralForge: adapters, learning, the log, the server',
  complete = function(lead, line)
    return require('neuralforge.command').complete(lead, line)
  end,
})

local group = vim.api.nvim_create_augroup('neuralforge', {})
vim.api.nvim_create_autocmd('LspAttach', {
  group = group,
  callback = function(event)
    local client = vim.lsp.get_client_by_id(event.data.client_id)
    if client and client.name == 'neuralforge' then
      require('neuralforge.attach').attach(event.buf)
    end
  end,
})
vim.api.nvim_create_autocmd('LspProgress', {
  group = group,
  callback = function(event)
    local client = vim.lsp.get_client_by_id(event.data.client_id)
    if client and client.name == 'neuralforge' then
      require('neuralforge.status').progress(event.data.params, client.id)
    end
  end,
})
