/**
 * What the user is told unasked: only what he has to know or act upon, each thing once a window.
 */
import { commands, window } from 'vscode';
import type { Origin } from './server/find.ts';
import { fitTogether } from './server/trouble.ts';

export class Notices {
  private readonly told = new Set<string>();

  /** The server died and is started again, or died too often. */
  serverEnded(restarts: boolean): void {
    if (restarts) {
      this.once('The server of NeuralForge ended unexpectedly and was started again.');
    } else {
      this.once(
        'The server of NeuralForge ended again and again and is left stopped. The output says why.',
        ['Show the Output', 'neuralforge.showOutput'],
        ['Restart', 'neuralforge.restartServer'],
      );
    }
  }

  /** A server of another version may not understand this extension. */
  versions(server: string | null, extension: string, origin: Origin): void {
    if (server === null || fitTogether(server, extension)) return;
    const differ = `The server is version ${server}, this extension ${extension}: some of it may not work.`;
    if (origin === 'managed') {
      this.once(`${differ} Install the server again.`, ['Install', 'neuralforge.installServer']);
    } else {
      this.once(`${differ} Bring the server to this version the way it was installed.`);
    }
  }

  private once(message: string, ...actions: [label: string, command: string][]): void {
    if (this.told.has(message)) return;
    this.told.add(message);
    void window.showWarningMessage(message, ...actions.map(([label]) => label)).then((chosen) => {
      const action = actions.find(([label]) => label === chosen);
      return action && commands.executeCommand(action[1]);
    });
  }
}
