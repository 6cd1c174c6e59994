// What scenarios are made of. A file of scenarios calls run({ name: async (world) => … }).

import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { chromium } from 'playwright-core';

const axeSource = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
export const config = JSON.parse(process.argv[2]);
config.site ??= config.origin; // as the browser calls it
export const home = config.site + config.mount;

export function assert(ok, message) {
  if (!ok) throw new Error(message);
}

export function equal(got, want, what) {
  const [g, w] = [JSON.stringify(got), JSON.stringify(want)];
  if (g !== w) throw new Error(`${what}: got ${g}, want ${w}`);
}

// until waits for something that becomes true without anybody doing anything.
export async function until(what, check, limit = 20000) {
  for (const end = Date.now() + limit; ;) {
    const value = await check();
    if (value) return value;
    if (Date.now() > end) throw new Error(`${what}: not within ${limit} ms`);
    await new Promise((resolve) => setTimeout(resolve, 40));
  }
}

export async function control(name, body = {}) {
  const res = await fetch(`${config.origin}/control/${name}`, { method: 'POST', body: JSON.stringify(body) });
  assert(res.ok, `control ${name}: ${res.status} ${res.ok || await res.text()}`);
  const out = await res.json();
  if (out && 'Items' in Object(out)) out.Items ??= [];
  return out;
}

class World {
  constructor(browser, name) {
    this.browser = browser;
    this.tenant = 'tenant-' + name.replace(/[^a-z0-9]+/gi, '-').toLowerCase();
    this.contexts = [];
    this.faults = [];
  }

  // visit opens a page as somebody: "manage" or "view". What a page may not do is noted.
  async visit(path = '', { role = 'manage', tenant = this.tenant, js = true, scheme = 'light', width = 1280, height = 900, scale = 1, tolerate = [], clock = false } = {}) {
    const context = await this.browser.newContext({
      javaScriptEnabled: js, colorScheme: scheme, viewport: { width, height }, deviceScaleFactor: scale, reducedMotion: 'reduce', locale: 'en-GB', timezoneId: 'UTC',
      isMobile: width < 600, hasTouch: width < 600,
    });
    this.contexts.push(context);
    await context.addCookies([{ name: 'login', value: `${tenant}|${role}`, url: config.site }]);
    if (config.site === config.origin) await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: config.site });
    if (clock) await context.clock.install(); // time goes by as ever, and can be sped up
    const page = await context.newPage();
    page.setDefaultTimeout(15000);
    if (js) {
      await page.exposeFunction('reportFault', (text) => { this.faults.push(text); });
      await page.addInitScript(() => {
        document.addEventListener('securitypolicyviolation', (e) => window.reportFault(`policy: ${e.violatedDirective} ${e.blockedURI} ${e.sample}`));
        for (const name of ['alert', 'confirm', 'prompt']) window[name] = () => window.reportFault('a script called ' + name);
      });
    }
    page.on('pageerror', (err) => this.faults.push('script error: ' + err.message));
    page.on('console', (message) => {
      const status = /status of (\d+)/.exec(message.text())?.[1];
      if (config.site !== config.origin && message.text().includes('Cross-Origin-Opener-Policy')) return; // browsers heed it over https only
      if (message.type() === 'error' && !(status && tolerate.includes(Number(status)))) this.faults.push('console: ' + message.text());
    });
    page.on('dialog', (dialog) => { this.faults.push('dialog: ' + dialog.message()); dialog.dismiss(); });
    page.on('request', (request) => {
      const url = request.url();
      if (!url.startsWith(config.site + '/') && !url.startsWith('data:') && !url.startsWith('about:')) this.faults.push('asked another host: ' + url);
    });
    await page.goto(home + path);
    return page;
  }

  // axe fails on anything that the rules of accessibility find.
  async axe(page, what, rules) {
    if (rules?.length === 0 || !config.axe) return this.fits(page, what);
    if (!await page.evaluate(() => 'axe' in window)) await page.evaluate(axeSource);
    const { violations } = await page.evaluate((only) => window.axe.run(document, { resultTypes: ['violations'], ...only && { runOnly: only } }), rules);
    const found = violations.map((v) => `${v.id}: ${v.help}\n` + v.nodes.slice(0, 4).map((n) => `    ${n.target} ${n.failureSummary?.split('\n').slice(1).join(' ')}`).join('\n'));
    assert(found.length === 0, `axe on ${what}:\n  ${found.join('\n  ')}`);
    await this.fits(page, what);
  }

  // fits fails when something is wider than the screen.
  async fits(page, what) {
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert(wide <= 0, `${what} sticks out by ${wide} px`);
  }

  async close() {
    for (const context of this.contexts) await context.close();
    assert(this.faults.length === 0, 'pages did what they may not:\n  ' + this.faults.join('\n  '));
  }
}

// run runs scenarios one after the other and reports a line about each.
export async function run(scenarios) {
  const browser = await chromium.launch({ executablePath: config.chromium, args: ['--no-sandbox', '--disable-dev-shm-usage', '--font-render-hinting=none', ...config.args ?? []] });
  const only = process.env.ONLY;
  let count = 0;
  for (const [name, scenario] of Object.entries(scenarios)) {
    if (only && !name.includes(only)) continue;
    const began = Date.now();
    const world = new World(browser, name);
    let error = '';
    try {
      await scenario(world);
    } catch (err) {
      const page = world.contexts.at(-1)?.pages()[0];
      error = `${err.stack}\n  at ${page?.url()}`;
    }
    try {
      await world.close();
    } catch (err) {
      error = [error, err.message].filter(Boolean).join('\n');
    }
    console.log(JSON.stringify({ Name: name, Error: error, Millis: Date.now() - began }));
    count++;
  }
  await browser.close();
  console.log(JSON.stringify({ End: count }));
}
