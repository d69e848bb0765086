const { FistClient } = require('./client_libraries/javascript/fist-client');

// Initialize client
const client = new FistClient({
    token: 'fist_your_token_here',
    baseUrl: 'http://localhost:8000'
});

// Single content moderation
const result = await client.moderateContent('Check this content');
console.log(`Decision: ${result.finalDecision}`);
console.log(`Confidence: ${result.inappropriateProbability}%`);

// Batch processing
const contents = ['Content 1', 'Content 2', 'Content 3'];
const results = await client.moderateBatch(contents);
console.log(`Processed ${results.length} items`);

// Background batch processing
const batchJob = await client.moderateBatch(contents, { background: true });
console.log(`Job ID: ${batchJob.jobId}`);

// System monitoring
const health = await client.getHealth();
const metrics = await client.getMetrics();
