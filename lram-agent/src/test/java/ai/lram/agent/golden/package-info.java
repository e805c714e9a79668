/** Agreement with the published implementations: blocks, stacks and the whole agent. */
package ai.lram.agent.golden;
