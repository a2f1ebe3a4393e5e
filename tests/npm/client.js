// SPDX-License-Identifier: Apache-2.0
// A node as @grpc/grpc-js sees it, with the messages as @grpc/proto-loader reads them.
// usage: client.js MODULES PROTO-FOLDER OVERLAY-ADDRESS GATEWAY-ADDRESS PLAN.json
// Prints one JSON object per promise: {"case": ..., "error": null or text}.
'use strict';
const [modules, protos, overlay, gateway, planFile] = process.argv.slice(2);
const grpc = require(`${modules}/@grpc/grpc-js`);
const loader = require(`${modules}/@grpc/proto-loader`);
const assert = require('assert');
const fs = require('fs');

const packages = grpc.loadPackageDefinition(loader.loadSync(
  ['health.proto', 'agihpc.proto', 'safety.proto', 'plan.proto'],
  { includeDirs: [protos], keepCase: true, longs: String, enums: String, defaults: true }));
const credentials = grpc.credentials.createInsecure();
const health = new packages.grpc.health.v1.Health(overlay, credentials);
const kv = new packages.agihpc.v1.KvService(overlay, credentials);
const planner = new packages.agi.plan.v1.PlanService(overlay, credentials);

function call(client, method, request, options = {}) {
  const metadata = options.metadata || new grpc.Metadata();
  const deadline = options.deadline || Date.now() + 20000;
  return new Promise((resolve, reject) => client[method](request, metadata, { deadline },
    (error, answer) => error ? reject(error) : resolve(answer)));
}

async function errorOf(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error('the call should have failed');
}

const cases = {
  'Health/Check answers SERVING': async () => {
    assert.strictEqual((await call(health, 'Check', {})).status, 'SERVING');
  },
  'Health/Check of an unknown service is NOT_FOUND': async () => {
    const error = await errorOf(call(health, 'Check', { service: 'nobody' }));
    assert.strictEqual(error.code, grpc.status.NOT_FOUND);
  },
  'Health/Watch streams the present state': async () => {
    const stream = health.Watch({});
    const first = await new Promise((resolve, reject) => {
      stream.once('data', resolve);
      stream.on('error', reject);
    });
    assert.strictEqual(first.status, 'SERVING');
    stream.removeAllListeners('error');
    stream.on('error', () => {});
    stream.cancel();
  },
  'KvService Put and Get': async () => {
    const value = Buffer.from([0, 1, 2, 255]);
    const put = await call(kv, 'Put', { namespace: 'js', key: Buffer.from('k'), value });
    assert.ok(put.acks >= 1 && /^[0-9]+$/.test(put.version), JSON.stringify(put));
    const got = await call(kv, 'Get', { namespace: 'js', key: Buffer.from('k') });
    assert.deepStrictEqual(got.value, value);
    assert.strictEqual(got.version, put.version);
  },
  'a value of 1 MiB there and back': async () => {
    const value = Buffer.alloc(1 << 20, 7);
    await call(kv, 'Put', { key: Buffer.from('large'), value });
    assert.deepStrictEqual((await call(kv, 'Get', { key: Buffer.from('large') })).value, value);
  },
  'an error has its status, text and details': async () => {
    const error = await errorOf(call(kv, 'Get', {}));
    assert.strictEqual(error.code, grpc.status.INVALID_ARGUMENT);
    assert.match(error.details, /key: 0 bytes/);
    const details = error.metadata.get('grpc-status-details-bin')[0];
    assert.ok(details.includes('google.rpc.ErrorInfo'), details);
  },
  'a deadline that is past': async () => {
    const error = await errorOf(call(kv, 'Get', { key: Buffer.from('k') }, { deadline: Date.now() - 1 }));
    assert.strictEqual(error.code, grpc.status.DEADLINE_EXCEEDED);
  },
  '100 calls at once': async () => {
    const all = [];
    for (let i = 0; i < 100; i++) {
      all.push(call(kv, 'Put', { namespace: 'js', key: Buffer.from(`n${i}`), value: Buffer.from(`${i}`) }));
    }
    await Promise.all(all);
    assert.strictEqual((await call(kv, 'Get', { namespace: 'js', key: Buffer.from('n99') })).value.toString(), '99');
  },
  'CheckPlan of a harmless plan is ALLOW, overlay port and role port': async () => {
    const plan = JSON.parse(fs.readFileSync(planFile, 'utf8'));
    for (const address of [overlay, gateway]) {
      const client = new packages.agi.safety.v1.PreActionSafetyService(address, credentials);
      const answer = await call(client, 'CheckPlan', { plan });
      assert.strictEqual(answer.result.decision, 'SAFETY_DECISION_ALLOW', JSON.stringify(answer));
      assert.strictEqual(answer.plan_approved, true);
    }
  },
  'CheckPlan of an empty plan is not approved': async () => {
    const client = new packages.agi.safety.v1.PreActionSafetyService(overlay, credentials);
    const answer = await call(client, 'CheckPlan', { plan: { steps: [] } });
    assert.strictEqual(answer.result.decision, 'SAFETY_DECISION_REVISE', JSON.stringify(answer));
    assert.strictEqual(answer.plan_approved, false);
  },
  'a service whose role nobody runs is UNAVAILABLE by name': async () => {
    const error = await errorOf(call(planner, 'Plan', {}));
    assert.strictEqual(error.code, grpc.status.UNAVAILABLE);
    assert.match(error.details, /role lh-planner does not run on this node/);
  },
};

(async () => {
  for (const [name, run] of Object.entries(cases)) {
    let error = null;
    try {
      await run();
    } catch (e) {
      error = e.stack || String(e);
    }
    console.log(JSON.stringify({ case: name, error }));
  }
  process.exit(0);
})();
