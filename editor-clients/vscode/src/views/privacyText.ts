/**
 * The text of the screen on what is logged. Pure.
 */
import type { ServerStatus } from '../protocol.ts';

/** Markdown; without a server the paths are described, not named. */
export function privacyText(status: ServerStatus | null): string {
  const home =
    status === null
      ? 'the folder of user data (`neuralforge doctor` names it)'
      : `\`${status.home}\``;
  const profile = status?.profile ?? 'default';
  return `# What is logged, and where

Everything stays on this machine, in ${home}, readable by you alone. Nothing is sent anywhere, unless you name another machine in \`neuralforge.engine.endpoint\`.

| what | where |
|---|---|
| suggestions that were shown, what became of them, and the lines around them | \`profiles/${profile}/session.db\` |
| edits that you made where a suggestion was dismissed or none was shown | \`profiles/${profile}/session.db\` |
| your adapters, and the samples that are replayed in training | \`profiles/${profile}/adapters\`, \`profiles/${profile}/replay.db\` |
| indexes of your workspace, which can be made again | \`profiles/${profile}/indexes\` |

- **Secrets** (keys, tokens, passwords) are taken out before anything is written.
- **Left out**: what git ignores, and what \`neuralforge.log.exclude\` names.
- **Learning** from a repository begins only after you said yes to it. Change your mind with *NeuralForge: Learn from This Repository* and *Do Not Learn from This Repository*.
- **Forgetting**: *NeuralForge: Delete from the Session Log…* Rows go by themselves after \`neuralforge.log.max_days\` days.
- **No log at all**: turn off \`neuralforge.log.enabled\`.
`;
}
