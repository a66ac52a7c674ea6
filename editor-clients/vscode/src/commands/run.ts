/**
 * What all commands share: the parts that they work on, and how they tell what went wrong.
 */
import {
  type Disposable,
  type ExtensionContext,
  type LogOutputChannel,
  commands,
  window,
} from 'vscode';
import type { Installer } from '../server/installer.ts';
import type { Session } from '../session.ts';
import type { StatusModel } from '../status.ts';
import type { Suggestions } from '../suggestions.ts';
import type { Toggles } from '../toggles.ts';

export interface Parts {
  context: ExtensionContext;
  output: LogOutputChannel;
  session: Session;
  status: StatusModel;
  suggestions: Suggestions;
  toggles: Toggles;
  installer: Installer;
}

export type Command = (...args: unknown[]) => unknown;

/** Registers commands by name; what one cannot do is said to the user who asked for it. */
export function register(table: Record<string, Command>, output: LogOutputChannel): Disposable[] {
  return Object.entries(table).map(([name, command]) =>
    commands.registerCommand(`neuralforge.${name}`, async (...args: unknown[]) => {
      try {
        return await command(...args);
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        output.warn(`${name}: ${message}`);
        void window.showErrorMessage(message);
        return undefined;
      }
    }),
  );
}
