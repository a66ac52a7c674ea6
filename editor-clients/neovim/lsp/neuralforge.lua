--- What `vim.lsp.enable('neuralforge')` starts.
return require('neuralforge.server').lsp_config()
