complete --keep-order --exclusive --command kmesh-lite --arguments "(KMESH_LITE_COMPLETE=fish kmesh-lite -- (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token))"
