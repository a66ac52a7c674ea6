/**
 * The item in the status bar; a click opens the details.
 */
import { type Disposable, MarkdownString, StatusBarAlignment, ThemeColor, window } from 'vscode';
import type { Look } from './statusText.ts';

export class StatusItem implements Disposable {
  private readonly item = window.createStatusBarItem('status', StatusBarAlignment.Right, 90);

  constructor() {
    this.item.name = 'NeuralForge';
    this.item.command = 'neuralforge.showStatus';
  }

  show(look: Look): void {
    this.item.text = look.text;
    this.item.tooltip = new MarkdownString(look.tooltip);
    this.item.accessibilityInformation = { label: look.text.replace(/\$\([^)]*\) ?/g, '') };
    this.item.backgroundColor = look.warns
      ? new ThemeColor('statusBarItem.warningBackground')
      : undefined;
    this.item.show();
  }

  dispose(): void {
    this.item.dispose();
  }
}
