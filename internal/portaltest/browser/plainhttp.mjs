// The portal over plain http at a name that is not localhost, where browsers do not
// say whose page a form comes from (Sec-Fetch-Site): Origin is all there is.

import { assert, config, control, equal, home, run } from './harness.mjs';

// add creates a webhook through the form of a portal.
async function add(page, at, name) {
  const asked = page.waitForRequest((r) => r.method() === 'POST');
  await page.goto(at + 'new');
  await page.fill('#name', name);
  await page.fill('#url', config.receiver);
  await page.check('#ev-all');
  await page.click('text=Create the webhook');
  await page.waitForSelector('#the-secret');
  const headers = await (await asked).allHeaders();
  equal([headers.origin, headers['sec-fetch-site']], [config.site, undefined], 'what the browser says of the page');
}

const names = async (tenant) => (await control('webhooks', { tenant })).Items.map((h) => h.Name).sort();

await run({
  'every form is taken': async (world) => {
    const page = await world.visit();
    await add(page, home, 'CRM');
    await page.click('text=Go to the webhook');
    await page.click('text=Edit');
    await page.fill('#name', 'Renamed');
    await page.click('.form-foot button');
    await page.waitForSelector('text=The settings were saved');
    const here = page.url().split('?')[0];
    await page.goto(here + '/disable');
    await page.click('main button[type=submit]');
    await page.waitForSelector('text=The webhook is disabled');
    await page.click('button:has-text("Enable")');
    await page.waitForSelector('text=The webhook is active again');
    await page.goto(here + '/secret');
    await page.click('main button[type=submit]');
    await page.waitForSelector('#the-secret');
    equal(await names(world.tenant), ['Renamed'], 'webhooks');
  },

  'without a script too': async (world) => {
    const page = await world.visit('', { js: false });
    await add(page, home, 'Scriptless');
  },

  'behind a proxy that asks for no referrer': async (world) => {
    const page = await world.visit();
    const res = await page.goto(config.site + '/strict/hooks/');
    assert((await res.headersArray()).filter((h) => h.name.toLowerCase() === 'referrer-policy').at(-1).value === 'no-referrer', 'the proxy has its way');
    await add(page, config.site + '/strict/hooks/', 'Strict');
  },

  'a form of another site is refused': async (world) => {
    const page = await world.visit();
    const context = page.context();
    await context.addCookies([{ name: 'login', value: `${world.tenant}|manage`, url: config.site, sameSite: 'Lax' }]);
    const foreign = await context.newPage();
    for (const policy of ['unsafe-url', 'same-origin', 'no-referrer']) {
      await foreign.goto(`${config.foreign}/?to=${encodeURIComponent(home + 'new')}&policy=${policy}`);
      const [res] = await Promise.all([foreign.waitForResponse((r) => r.request().method() === 'POST'), foreign.click('button')]);
      equal(res.status(), 403, policy);
      await foreign.waitForSelector('text=another origin');
    }
    equal(await names(world.tenant), [], 'webhooks');
  },
});
