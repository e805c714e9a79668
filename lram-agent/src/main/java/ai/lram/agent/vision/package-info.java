/** Image encoders. */
package ai.lram.agent.vision;
