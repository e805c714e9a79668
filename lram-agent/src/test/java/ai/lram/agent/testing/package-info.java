/** Small stores, cards and meters that the tests of this module share. */
package ai.lram.agent.testing;
