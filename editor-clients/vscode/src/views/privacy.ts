/**
 * One screen that says what is logged and where, with the paths of this machine.
 */
import { type Disposable, Uri, commands, workspace } from 'vscode';
import type { ServerStatus } from '../protocol.ts';
import { privacyText } from './privacyText.ts';

const SCHEME = 'neuralforge';
const SCREEN = Uri.from({ scheme: SCHEME, path: '/What is logged, and where.md' });

export class PrivacyScreen implements Disposable {
  private readonly provider: Disposable;

  constructor(status: () => Promise<ServerStatus | null>) {
    this.provider = workspace.registerTextDocumentContentProvider(SCHEME, {
      provideTextDocumentContent: async () => privacyText(await status()),
    });
  }

  async show(): Promise<void> {
    await commands.executeCommand('markdown.showPreview', SCREEN);
  }

  dispose(): void {
    this.provider.dispose();
  }
}
