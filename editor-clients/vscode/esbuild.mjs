// Bundles the extension into dist/, or with --tests the unit tests into out/test/.
import { readdirSync, rmSync } from 'node:fs';
import { build } from 'esbuild';

const has = (flag) => process.argv.includes(flag);
const common = {
  bundle: true,
  platform: 'node',
  format: 'cjs',
  target: 'node20',
  logLevel: 'warning',
};

if (has('--tests')) {
  rmSync('out', { recursive: true, force: true });
  const tests = readdirSync('test').filter((name) => name.endsWith('.test.ts'));
  await build({ ...common, entryPoints: tests.map((name) => `test/${name}`), outdir: 'out/test' });
} else {
  rmSync('dist', { recursive: true, force: true });
  // The language client is a bundle of its own: activation does not wait until it is read.
  await build({
    ...common,
    entryPoints: ['src/extension.ts', 'src/client.ts'],
    outdir: 'dist',
    external: ['vscode', './client.js'],
    minify: has('--production'),
    sourcemap: !has('--production'),
  });
}
