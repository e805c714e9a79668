/**
 * Models on disk: safetensors for numbers, JSON for the model's shape and its card. A checkpoint is a folder that is published as a whole;
 * everything read from one is checked before memory is taken.
 */
package ai.lram.agent.checkpoint;
