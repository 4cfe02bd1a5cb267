import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vitest/config';

// The web role serves these files under a policy that forbids anything inline, so nothing may be inlined here:
// no module preload snippet, no small asset turned into a data: address.
export default defineConfig({
  plugins: [svelte()],
  base: '/',
  build: {
    outDir: '../src/soip/web/static',
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: 'es2022',
    chunkSizeWarningLimit: 600,
  },
  server: {
    // `npm run dev` beside a running `soip serve`.
    proxy: { '/api': 'http://127.0.0.1:8080', '/media': { target: 'http://127.0.0.1:8080', ws: true } },
  },
  test: { environment: 'node', include: ['src/**/*.test.ts'], env: { TZ: 'Asia/Seoul' } },
});
