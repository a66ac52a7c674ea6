/**
 * The details that a click on the status item opens: each fact, and what can be done about it.
 */
import { QuickPickItemKind, commands, window } from 'vscode';
import type { Learning } from '../protocol.ts';
import type { More } from '../status.ts';
import { type Facts, details, isPaused } from './statusText.ts';

type Action = [label: string, command: string];

export async function showDetails(facts: Facts, more: More | null): Promise<void> {
  const items = [
    ...details(facts, more).map(([label, description]) => ({ label, description, command: '' })),
    { label: 'Actions', kind: QuickPickItemKind.Separator, command: '' },
    ...actions(facts).map(([label, command]) => ({ label, command: `neuralforge.${command}` })),
  ];
  const chosen = await window.showQuickPick(items, {
    title: 'NeuralForge',
    matchOnDescription: true,
  });
  if (chosen?.command) await commands.executeCommand(chosen.command);
}

function actions({ state, live, allowed }: Facts): Action[] {
  const always: Action[] = [
    ['$(refresh) Restart the server', 'restartServer'],
    ['$(output) Show the output', 'showOutput'],
  ];
  if (state.kind === 'missing') return [['$(cloud-download) Install the server', 'installServer']];
  if (state.kind === 'untrusted') return [['$(shield) Manage trust', 'manageTrust']];
  if (state.kind !== 'running') return always;
  return [
    [
      allowed ? '$(circle-slash) Turn off in this file' : '$(check) Turn on in this file',
      'toggleFile',
    ],
    ['$(layers) Adapters…', 'manageAdapters'],
    ['$(database) Choose a base…', 'chooseBase'],
    ...(live === null ? [] : trainingActions(live.learning)),
    ['$(graph) Open the report', 'openReport'],
    ['$(history) Session log…', 'showLog'],
    ['$(lock) What is logged, and where', 'showPrivacy'],
    ...always,
  ];
}

function trainingActions(learning: Learning): Action[] {
  const resume: Action = ['$(debug-start) Resume trainings', 'resumeTraining'];
  if (!learning.running) {
    const train: Action = ['$(mortar-board) Train now from this repository', 'trainRepository'];
    return learning.paused ? [train, resume] : [train];
  }
  return [
    isPaused(learning) ? resume : ['$(debug-pause) Pause the training', 'pauseTraining'],
    ['$(debug-step-over) Skip: never train on these samples', 'skipTraining'],
    ['$(debug-stop) Cancel the training', 'cancelTraining'],
  ];
}
