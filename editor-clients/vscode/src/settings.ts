/**
 * The settings of this extension itself; every other one is the server's, which reads it by
 * `workspace/configuration`.
 */
import { workspace } from 'vscode';

export const SECTION = 'neuralforge';

/** Branches of the section that the server does not know, named as in the Neovim plugin. */
export const CLIENT_SECTIONS = ['server'];

export interface ClientSettings {
  serverPath: string;
  serverArguments: string[];
  installIndexUrl: string;
  installExtraIndexUrl: string;
  installPackage: string;
  installPython: string;
}

/** The settings of now. */
export function clientSettings(): ClientSettings {
  const section = workspace.getConfiguration(SECTION);
  return {
    serverPath: section.get('server.path', '').trim(),
    serverArguments: section.get<string[]>('server.arguments', []),
    installIndexUrl: section.get('server.index_url', '').trim(),
    installExtraIndexUrl: section.get('server.extra_index_url', '').trim(),
    installPackage: section.get('server.package', '').trim(),
    installPython: section.get('server.python', '').trim(),
  };
}
