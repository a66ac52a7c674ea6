/**
 * Commands on the server itself, and the screens about it.
 */
import { commands } from 'vscode';
import type { Command, Parts } from './run.ts';

export function serverCommands(
  { session, installer, output }: Parts,
  screens: {
    details: () => Promise<void>;
    privacy: () => Promise<void>;
    report: () => Promise<void>;
  },
): Record<string, Command> {
  return {
    showStatus: screens.details,
    showPrivacy: screens.privacy,
    openReport: screens.report,
    showOutput: () => {
      output.show();
    },
    restartServer: () => session.restart(),
    installServer: async () => {
      if (await installer.ask()) await session.restart();
    },
    manageTrust: () => commands.executeCommand('workbench.trust.manage'),
    openWalkthrough: () =>
      commands.executeCommand(
        'workbench.action.openWalkthrough',
        'neuralforge.neuralforge#start',
        false,
      ),
  };
}
