import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vite';

// The built page is committed (src/app/page) and must come out the same on every machine: names carry a digest of
// their content and nothing else varies.
export default defineConfig({
  plugins: [svelte()],
  build: { outDir: 'dist', assetsDir: 'assets', sourcemap: false, target: 'es2022', modulePreload: { polyfill: false } },
  server: { proxy: { '/v1': 'http://127.0.0.1:9347', '/weir': 'http://127.0.0.1:9347' } },
});
