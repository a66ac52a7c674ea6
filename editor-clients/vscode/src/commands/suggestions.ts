/**
 * Commands at the cursor: ask, accept a part, dismiss, and where suggestions are on.
 */
import { type TextDocument, commands, window } from 'vscode';
import type { Command, Parts } from './run.ts';

export function suggestionCommands({
  suggestions,
  toggles,
  status,
}: Parts): Record<string, Command> {
  const said = (what: string, on: boolean): void => {
    window.setStatusBarMessage(`NeuralForge is ${on ? 'on' : 'off'} ${what}`, 5000);
    status.look();
  };
  return {
    trigger: () => commands.executeCommand('editor.action.inlineSuggest.trigger'),
    acceptWord: () => suggestions.acceptPart('editor.action.inlineSuggest.acceptNextWord'),
    acceptLine: () => suggestions.acceptPart('editor.action.inlineSuggest.acceptNextLine'),
    dismiss: () => suggestions.dismiss(),
    toggle: async () => {
      said('everywhere', await toggles.toggleEverywhere());
    },
    toggleWorkspace: async () => {
      said('in this workspace', await toggles.toggleWorkspace());
    },
    toggleLanguage: async () => {
      const { languageId } = activeDocument();
      said(`in ${languageId}`, await toggles.toggleLanguage(languageId));
    },
    toggleFile: () => {
      said('in this file', toggles.toggleDocument(activeDocument()));
    },
  };
}

function activeDocument(): TextDocument {
  const document = window.activeTextEditor?.document;
  if (document === undefined) throw new Error('Open a file first.');
  return document;
}
