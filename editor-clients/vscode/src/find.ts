/**
 * Finds the server for a session, and tells the user once where the setting leads nowhere.
 */
import { statSync } from 'node:fs';
import { commands, window, workspace } from 'vscode';
import { type Found, type Launch, findServer } from './server/find.ts';
import type { Installer } from './server/installer.ts';
import { clientSettings } from './settings.ts';

const OPEN = 'Open the Setting';

/** Where the server lies now; null where there is none. */
export async function lookForServer(installer: Installer): Promise<Found | null> {
  const { serverPath } = clientSettings();
  const found = findServer({
    setting: serverPath,
    searchPath: process.env.PATH ?? '',
    managed: await installer.programs(),
    platform: process.platform,
    isFile: (file) => statSync(file, { throwIfNoEntry: false })?.isFile() ?? false,
  });
  if (found === null && serverPath !== '') void tellNoProgram(serverPath);
  return found;
}

/** How to start what was found, in the first folder of the workspace. */
export function launchOf({ command }: Found): Launch {
  const { serverArguments } = clientSettings();
  const folder = workspace.workspaceFolders?.find(({ uri }) => uri.scheme === 'file');
  const options = folder === undefined ? {} : { cwd: folder.uri.fsPath };
  return { command, args: ['serve', ...serverArguments], options };
}

async function tellNoProgram(serverPath: string): Promise<void> {
  const message =
    `The setting neuralforge.server.path names ${serverPath}, and there is no such program. ` +
    'Correct it, or clear it to have the server found or installed.';
  if ((await window.showErrorMessage(message, OPEN)) === OPEN) {
    await commands.executeCommand('workbench.action.openSettings', 'neuralforge.server.path');
  }
}
