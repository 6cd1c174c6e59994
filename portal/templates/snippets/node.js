// npm install express standardwebhooks
import express from "express";
import { Webhook } from "standardwebhooks";

const secret = process.env.WEBHOOK_SECRET ?? "";
if (secret.length < 24) throw new Error("WEBHOOK_SECRET is not set"); // anyone can sign with an empty key
const webhook = new Webhook(secret);
const app = express();

// The raw body: the signature covers its bytes, not the parsed JSON.
app.post("/webhooks", express.raw({ type: "*/*", limit: "1mb" }), (req, res) => {
  let body;
  try {
    body = webhook.verify(req.body.toString(), req.headers);
  } catch {
    return res.sendStatus(401);
  }
  // Every retry has the same ID: skip IDs that you have handled.
  console.log(req.get("webhook-id"), body.event, body.data);
  res.sendStatus(204); // answer first, then work: the timeout is running
});

app.listen(process.env.PORT ?? 9000);
