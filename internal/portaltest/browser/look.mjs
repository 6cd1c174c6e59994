// Every page as it looks after a day's work: read by axe in light and in dark, at
// a desk's width and a phone's, and, where a folder is given, photographed.

import { mkdirSync } from 'node:fs';
import { config, control, equal, run } from './harness.mjs';

const ids = await control('seeded');
if (config.shots) mkdirSync(config.shots, { recursive: true });

// pages are what there is to see, with what is done first where it takes something.
const pages = {
  list: { path: '' },
  failing: { path: 'webhooks/' + ids.lake },
  disabled: { path: 'webhooks/' + ids.old },
  unverified: { path: 'webhooks/' + ids.dev },
  delivery: { path: 'deliveries/' + ids['lake-failed'] },
  new: { path: 'new' },
  refused: {
    path: 'new', tolerate: [400],
    act: async (page) => {
      await page.fill('#name', 'CRM');
      await page.fill('#url', 'http://10.0.0.1/hooks');
      await page.fill('#timeout', '900');
      await page.click('text=Create the webhook');
      await page.waitForSelector('[role=alert]');
    },
  },
  edit: { path: 'webhooks/' + ids.crm + '/edit' },
  test: { path: 'webhooks/' + ids.crm + '/test' },
  rotate: { path: 'webhooks/' + ids.slack + '/secret' },
  secret: {
    path: 'webhooks/' + ids.slack + '/secret',
    act: async (page) => {
      await page.click('button[type=submit]');
      await page.waitForSelector('#the-secret');
      // Not a secret that signs anything, should the picture be published.
      if (config.shots) await page.$eval('#the-secret', (el) => { el.value = 'whsec_c2FtcGxlLXNlY3JldC1vZi10aGUtZG9jdW1lbnRhdGlvbg=='; });
    },
  },
  disable: { path: 'webhooks/' + ids.crm + '/disable' },
  delete: { path: 'webhooks/' + ids.crm + '/delete' },
  replay: { path: 'webhooks/' + ids.lake + '/replay?back=24h&failed=1&canceled=1&missing=1&since=&until=&type=' },
  empty: { path: '', tenant: 'nobody' },
  missing: { path: 'webhooks/wh_00000000000000000000000000', tolerate: [404] },
  viewer: { path: 'webhooks/' + ids.crm, role: 'view' },
};

const pictured = ['list', 'failing', 'delivery', 'new', 'secret', 'test', 'replay'];
const contrast = ['color-contrast', 'link-in-text-block'];
const scenarios = {};
for (const [name, { path, act, tenant = 'acme', role = 'manage', tolerate = [] }] of Object.entries(pages)) {
  scenarios[name] = async (world) => {
    const page = await world.visit(path, { tenant, role, tolerate });
    await act?.(page);
    equal(await page.locator('h1').count(), 1, `${name}: headings of the first rank`);
    // Both widths with all rules, and both schemes; what is left out differs in colours only.
    for (const [look, width, height, scheme, rules] of [
      ['light', 1280, 900, 'light', contrast], ['dark', 1280, 900, 'dark'], ['phone', 390, 844, 'light'], ['narrow', 320, 640, 'light', []],
    ].slice(0, config.short ? 1 : undefined)) {
      await page.setViewportSize({ width, height });
      await page.emulateMedia({ colorScheme: scheme, reducedMotion: 'reduce' });
      await world.axe(page, `${name} ${look}`, rules);
      if (config.shots && pictured.includes(name) && ['light', 'dark', 'phone'].includes(look)) {
        await page.evaluate(() => document.activeElement?.blur());
        await page.screenshot({ path: `${config.shots}/${name}-${look}.png`, animations: 'disabled' });
      }
    }
  };
}
await run(scenarios);
