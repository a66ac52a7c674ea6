/**
 * The command that chooses a base; one that is not here yet is fetched first, with progress.
 */
import { ConfigurationTarget, window, workspace } from 'vscode';
import type { BaseList, BaseRow, BaseUse } from '../protocol.ts';
import { SECTION } from '../settings.ts';
import { baseRow } from '../views/rows.ts';
import type { Command, Parts } from './run.ts';

export function baseCommands({ session }: Parts): Record<string, Command> {
  const use = async (base: BaseRow, now: boolean): Promise<void> => {
    const done = await session.command<BaseUse>('neuralforge.base.use', base.name, now);
    if (done.setting !== null) await offerToClear(done.setting);
    if (done.result === 'awaited') {
      const message = `${base.name} comes into use once your adapter is trained for it.`;
      const chosen = await window.showInformationMessage(message, 'Use It Now, Without');
      if (chosen !== undefined) await use(base, true);
      return;
    }
    window.setStatusBarMessage(`NeuralForge: ${base.name} is in use`, 5000);
  };
  return {
    chooseBase: async () => {
      const { bases } = await session.command<BaseList>('neuralforge.base.list');
      const items = bases.map((base) => ({ ...baseRow(base), base }));
      const chosen = await window.showQuickPick(items, {
        title: 'Choose a base',
        matchOnDescription: true,
      });
      if (chosen === undefined || chosen.base.state === 'in use') return;
      if (chosen.base.path === null) {
        await session.command('neuralforge.base.pull', chosen.base.name);
      }
      await use(chosen.base, false);
    },
  };
}

async function offerToClear(setting: string): Promise<void> {
  const message = `The setting neuralforge.engine.base names ${setting}, which goes before a choice.`;
  if ((await window.showWarningMessage(message, 'Clear the Setting')) === undefined) return;
  const section = workspace.getConfiguration(SECTION);
  for (const target of [ConfigurationTarget.Global, ConfigurationTarget.Workspace]) {
    await section.update('engine.base', undefined, target);
  }
}
