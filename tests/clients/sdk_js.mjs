// What users of AWS's SDK for JavaScript, version 3, write. `node sdk_js.mjs NAME IMAGE ROLE`; test_sdk_js.py does.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { createReadStream, writeFileSync } from "node:fs";
import { Readable } from "node:stream";

import {
  CloudWatchLogsClient, DescribeLogStreamsCommand, GetLogEventsCommand, paginateFilterLogEvents,
} from "@aws-sdk/client-cloudwatch-logs";
import * as s3api from "@aws-sdk/client-s3";
import * as api from "@aws-sdk/client-sagemaker";
import { InvokeEndpointCommand, SageMakerRuntimeClient } from "@aws-sdk/client-sagemaker-runtime";
import { Upload } from "@aws-sdk/lib-storage";
import { createPresignedPost } from "@aws-sdk/s3-presigned-post";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";

const [, , NAME, IMAGE, ROLE] = process.argv;
const BUCKET = "sdk-js";
const sagemaker = new api.SageMakerClient({});
const runtime = new SageMakerRuntimeClient({});
const logs = new CloudWatchLogsClient({});
const s3 = new s3api.S3Client({});
const PATIENT = { maxWaitTime: 60, minDelay: 1, maxDelay: 1 };

function training(name, hyperparameters) {
  return {
    TrainingJobName: name,
    AlgorithmSpecification: {
      TrainingImage: IMAGE,
      TrainingInputMode: "File",
      MetricDefinitions: [{ Name: "score", Regex: "score=([\\d.]+)" }],
    },
    RoleArn: ROLE,
    HyperParameters: hyperparameters,
    OutputDataConfig: { S3OutputPath: `s3://${BUCKET}/out` },
    ResourceConfig: { InstanceType: "ml.m5.large", InstanceCount: 1, VolumeSizeInGB: 1 },
    StoppingCondition: { MaxRuntimeInSeconds: 60 },
  };
}

async function trained(name, hyperparameters) {
  await sagemaker.send(new api.CreateTrainingJobCommand(training(name, hyperparameters)));
  await api.waitUntilTrainingJobCompletedOrStopped({ client: sagemaker, ...PATIENT }, { TrainingJobName: name });
  return sagemaker.send(new api.DescribeTrainingJobCommand({ TrainingJobName: name }));
}

async function collected(pages, members) {
  const found = [];
  for await (const page of pages) found.push(...(page[members] ?? []));
  return found;
}

async function refused(promise, name, pattern = /./) {
  await assert.rejects(promise, (error) => error.name === name && pattern.test(error.message));
}

const scripts = {
  // A job, its waiter, pages of a listing, its log; a failure; errors by their classes.
  async train() {
    const job = await trained("js-trained", { lr: "0.5" });
    assert.equal(job.TrainingJobStatus, "Completed");
    assert.ok(job.CreationTime instanceof Date && job.TrainingEndTime >= job.TrainingStartTime);
    assert.equal(job.FinalMetricDataList[0].Value, 0.5);
    await trained("js-trained-2", { lr: "1" });
    const pages = api.paginateListTrainingJobs({ client: sagemaker, pageSize: 1 }, { NameContains: "js-trained" });
    const names = (await collected(pages, "TrainingJobSummaries")).map((each) => each.TrainingJobName);
    assert.deepEqual(names.sort(), ["js-trained", "js-trained-2"]);
    const group = { logGroupName: "/aws/sagemaker/TrainingJobs" };
    const filtered = paginateFilterLogEvents({ client: logs }, { ...group, logStreamNamePrefix: "js-trained/" });
    assert.ok((await collected(filtered, "events")).some((each) => each.message === "score=0.5"));
    const { logStreams } = await logs.send(
      new DescribeLogStreamsCommand({ ...group, logStreamNamePrefix: "js-trained/" }),
    );
    const { logStreamName } = logStreams[0];
    const first = await logs.send(new GetLogEventsCommand({ ...group, logStreamName, startFromHead: true }));
    const end = await logs.send(
      new GetLogEventsCommand({ ...group, logStreamName, nextToken: first.nextForwardToken }),
    );
    assert.deepEqual([end.events, end.nextForwardToken], [[], first.nextForwardToken]);
    await sagemaker.send(new api.CreateTrainingJobCommand(training("js-failing", { fail: "no pictures" })));
    await assert.rejects(
      api.waitUntilTrainingJobCompletedOrStopped({ client: sagemaker, ...PATIENT }, { TrainingJobName: "js-failing" }),
      /AlgorithmError: no pictures/,
    );
    await assert.rejects(
      sagemaker.send(new api.CreateTrainingJobCommand(training("js-trained", {}))), api.ResourceInUse,
    );
    await assert.rejects(
      sagemaker.send(new api.StopTrainingJobCommand({ TrainingJobName: "js-none" })), api.ResourceNotFound,
    );
    await refused(sagemaker.send(new api.DescribeTrainingJobCommand({ TrainingJobName: "js-none" })), "ValidationException");
    await refused(sagemaker.send(new api.ListDomainsCommand({})), "UnknownOperationException", /ListDomains/);
    await assert.rejects(
      logs.send(new GetLogEventsCommand({ ...group, logStreamName: "none" })), { name: "ResourceNotFoundException" },
    );
  },

  // A tuning job and its trials.
  async tune() {
    const { TrainingJobName, HyperParameters, ...definition } = training("x", {});
    definition.AlgorithmSpecification = { TrainingImage: IMAGE, TrainingInputMode: "File",
      MetricDefinitions: [{ Name: "score", Regex: "score=([\\d.]+)" }] };
    const named = { HyperParameterTuningJobName: "js-tuned" };
    await sagemaker.send(new api.CreateHyperParameterTuningJobCommand({
      ...named,
      HyperParameterTuningJobConfig: {
        Strategy: "Random",
        HyperParameterTuningJobObjective: { Type: "Maximize", MetricName: "score" },
        ResourceLimits: { MaxNumberOfTrainingJobs: 3, MaxParallelTrainingJobs: 2 },
        ParameterRanges: {
          ContinuousParameterRanges: [{ Name: "lr", MinValue: "0.1", MaxValue: "0.9" }],
        },
      },
      TrainingJobDefinition: definition,
    }));
    let job;
    do {
      await new Promise((resolve) => setTimeout(resolve, 500));
      job = await sagemaker.send(new api.DescribeHyperParameterTuningJobCommand(named));
    } while (job.HyperParameterTuningJobStatus === "InProgress");
    assert.equal(job.HyperParameterTuningJobStatus, "Completed", job.FailureReason);
    const trials = await collected(
      api.paginateListTrainingJobsForHyperParameterTuningJob({ client: sagemaker }, named), "TrainingJobSummaries",
    );
    assert.equal(trials.length, 3);
    const values = trials.map((each) => each.FinalHyperParameterTuningJobObjectiveMetric.Value);
    assert.equal(job.BestTrainingJob.FinalHyperParameterTuningJobObjectiveMetric.Value, Math.max(...values));
  },

  // An endpoint and its waiters; answers, errors of the model, what is not there; a transform job.
  async serve() {
    const job = await trained("js-served", { lr: "1" });
    const container = { Image: IMAGE, ModelDataUrl: job.ModelArtifacts.S3ModelArtifacts };
    await sagemaker.send(new api.CreateModelCommand({
      ModelName: "js-model", PrimaryContainer: container, ExecutionRoleArn: ROLE, Tags: [{ Key: "team", Value: "web" }],
    }));
    const { ModelArn } = await sagemaker.send(new api.DescribeModelCommand({ ModelName: "js-model" }));
    const { Tags } = await sagemaker.send(new api.ListTagsCommand({ ResourceArn: ModelArn }));
    assert.deepEqual(Tags, [{ Key: "team", Value: "web" }]);
    await sagemaker.send(new api.CreateEndpointConfigCommand({
      EndpointConfigName: "js-config",
      ProductionVariants: [
        { VariantName: "all", ModelName: "js-model", InstanceType: "ml.m5.large", InitialInstanceCount: 1 },
      ],
    }));
    const endpoint = { EndpointName: "js-endpoint" };
    await sagemaker.send(new api.CreateEndpointCommand({ ...endpoint, EndpointConfigName: "js-config" }));
    await api.waitUntilEndpointInService({ client: sagemaker, ...PATIENT }, endpoint);
    const call = (Body, ContentType = "text/plain") =>
      runtime.send(new InvokeEndpointCommand({ ...endpoint, Body, ContentType }));
    const answer = await call("hello");
    assert.equal(answer.Body.transformToString(), "echo hello");
    assert.deepEqual([answer.ContentType, answer.InvokedProductionVariant], ["text/plain", "all"]);
    const picture = randomBytes(200_000);
    assert.ok(Buffer.from((await call(picture)).Body).equals(Buffer.concat([Buffer.from("echo "), picture])));
    await assert.rejects(call("text"), (error) => error.name === "ModelError" && error.OriginalStatusCode === 415);
    await refused(
      runtime.send(new InvokeEndpointCommand({ EndpointName: "js-none", Body: "x" })), "ValidationError", /not found/,
    );
    await s3.send(new s3api.PutObjectCommand({ Bucket: BUCKET, Key: "batch/a.txt", Body: "one\ntwo\n" }));
    const transform = { TransformJobName: "js-batch" };
    await sagemaker.send(new api.CreateTransformJobCommand({
      ...transform,
      ModelName: "js-model",
      BatchStrategy: "SingleRecord",
      TransformInput: {
        DataSource: { S3DataSource: { S3DataType: "S3Prefix", S3Uri: `s3://${BUCKET}/batch/` } },
        ContentType: "text/plain",
        SplitType: "Line",
      },
      TransformOutput: { S3OutputPath: `s3://${BUCKET}/answers`, AssembleWith: "Line" },
      TransformResources: { InstanceType: "ml.m5.large", InstanceCount: 1 },
    }));
    await api.waitUntilTransformJobCompletedOrStopped({ client: sagemaker, ...PATIENT }, transform);
    const lines = await s3.send(new s3api.GetObjectCommand({ Bucket: BUCKET, Key: "answers/a.txt.out" }));
    assert.equal(await lines.Body.transformToString(), "echo one\necho two\n");
    await sagemaker.send(new api.DeleteEndpointCommand(endpoint));
    await api.waitUntilEndpointDeleted({ client: sagemaker, ...PATIENT }, endpoint);
  },

  // Streams with and without a length, uploads in parts, ranges, copies, listings, conditions, errors.
  async objects() {
    const at = (Key) => ({ Bucket: BUCKET, Key });
    const data = randomBytes(12 << 20);
    writeFileSync("data", data);
    const read = async (Key, more = {}) => {
      const got = await s3.send(new s3api.GetObjectCommand({ ...at(Key), ...more }));
      return Buffer.from(await got.Body.transformToByteArray());
    };
    await s3.send(new s3api.PutObjectCommand({ ...at("file"), Body: createReadStream("data"), Metadata: { mood: "good" } }));
    assert.ok((await read("file")).equals(data));
    await s3.send(new s3api.PutObjectCommand({
      ...at("stream"), Body: Readable.from([data.subarray(0, 70_000), data.subarray(70_000, 90_000)]),
      ContentLength: 90_000, ChecksumAlgorithm: "SHA256",
    }));
    assert.ok((await read("stream", { ChecksumMode: "ENABLED" })).equals(data.subarray(0, 90_000)));
    // No length is known of it; lib-storage sends it in parts.
    const pieces = Array.from({ length: 12 }, (_, index) => data.subarray(index << 20, (index + 1) << 20));
    await new Upload({ client: s3, params: { ...at("parts"), Body: Readable.from(pieces) } }).done();
    assert.ok((await read("parts")).equals(data));
    assert.ok((await read("parts", { Range: "bytes=-100" })).equals(data.subarray(-100)));
    const head = await s3.send(new s3api.HeadObjectCommand(at("file")));
    assert.deepEqual([head.ContentLength, head.Metadata], [data.length, { mood: "good" }]);
    await s3.send(new s3api.CopyObjectCommand({ ...at("copy ü"), CopySource: `${BUCKET}/parts` }));
    assert.ok((await read("copy ü")).equals(data));
    const aborted = new Upload({ client: s3, params: { ...at("aborted"), Body: Readable.from(pieces) } });
    aborted.on("httpUploadProgress", () => aborted.abort());
    await assert.rejects(aborted.done(), { name: "AbortError" });
    await s3.send(new s3api.PutObjectCommand({ ...at("folder/"), Body: "" }));
    const pages = s3api.paginateListObjectsV2({ client: s3, pageSize: 2 }, { Bucket: BUCKET, Prefix: "" });
    const listed = (await collected(pages, "Contents")).map((each) => each.Key);
    for (const key of ["file", "stream", "parts", "copy ü", "folder/"]) assert.ok(listed.includes(key), key);
    assert.ok(!listed.includes("aborted"));
    await refused(s3.send(new s3api.PutObjectCommand({ ...at("file"), Body: "x", IfNoneMatch: "*" })), "PreconditionFailed");
    await assert.rejects(s3.send(new s3api.GetObjectCommand(at("none"))), s3api.NoSuchKey);
    await assert.rejects(s3.send(new s3api.HeadObjectCommand(at("none"))), s3api.NotFound);
    await assert.rejects(s3.send(new s3api.ListObjectsV2Command({ Bucket: "sdk-js-none" })), s3api.NoSuchBucket);
    await s3api.waitUntilObjectExists({ client: s3, ...PATIENT }, at("file"));
    await s3.send(new s3api.PutObjectTaggingCommand({ ...at("file"), Tagging: { TagSet: [{ Key: "t", Value: "1" }] } }));
    assert.equal((await s3.send(new s3api.GetObjectTaggingCommand(at("file")))).TagSet[0].Value, "1");
    const gone = await s3.send(new s3api.DeleteObjectsCommand({
      Bucket: BUCKET, Delete: { Objects: listed.filter((key) => !key.startsWith("out")).map((Key) => ({ Key })) },
    }));
    assert.equal(gone.Errors, undefined);
  },

  // Addresses that anybody may use, until they expire; a form.
  async presigned() {
    const at = { Bucket: BUCKET, Key: "signed ü" };
    const put = await getSignedUrl(s3, new s3api.PutObjectCommand({ ...at, ContentType: "text/x" }), { expiresIn: 60 });
    assert.equal((await fetch(put, { method: "PUT", body: "hello", headers: { "content-type": "text/x" } })).status, 200);
    const get = await getSignedUrl(s3, new s3api.GetObjectCommand({ ...at, ResponseContentType: "text/css" }));
    const got = await fetch(get);
    assert.deepEqual([await got.text(), got.headers.get("content-type")], ["hello", "text/css"]);
    const signingDate = new Date(Date.now() - 100_000);
    const old = await fetch(await getSignedUrl(s3, new s3api.GetObjectCommand(at), { expiresIn: 60, signingDate }));
    assert.equal(old.status, 403);
    assert.match(await old.text(), /<Code>AccessDenied<\/Code><Message>Request has expired<\/Message>/);
    const { url, fields } = await createPresignedPost(s3, {
      Bucket: BUCKET,
      Key: "forms/${filename}",
      Conditions: [["content-length-range", 1, 1000], ["starts-with", "$Content-Type", "text/"]],
      Fields: { success_action_status: "201", "x-amz-meta-mood": "good" },
    });
    const form = (body, type) => {
      const filled = new FormData();
      for (const [name, value] of Object.entries({ ...fields, "Content-Type": type })) filled.append(name, value);
      filled.append("file", new Blob([body], { type }), "a b.txt");
      return fetch(url, { method: "POST", body: filled });
    };
    const posted = await form("posted", "text/plain");
    assert.equal(posted.status, 201);
    assert.match(await posted.text(), /<PostResponse>.*<Key>forms\/a b.txt<\/Key>/s);
    const object = await s3.send(new s3api.GetObjectCommand({ Bucket: BUCKET, Key: "forms/a b.txt" }));
    assert.deepEqual([await object.Body.transformToString(), object.ContentType, object.Metadata],
      ["posted", "text/plain", { mood: "good" }]);
    assert.match(await (await form("x".repeat(1001), "text/plain")).text(), /<Code>EntityTooLarge</);
    const refusal = await form("x", "image/png");
    assert.equal(refusal.status, 403);
    assert.match(await refusal.text(), /Policy Condition failed: \["starts-with", "\$Content-Type", "text\/"\]/);
  },
};

try {
  await s3.send(new s3api.CreateBucketCommand({ Bucket: BUCKET }));
} catch (error) {
  if (!(error instanceof s3api.BucketAlreadyOwnedByYou)) throw error;
}
await scripts[NAME]();
