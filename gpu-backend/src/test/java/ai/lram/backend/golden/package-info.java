/**
 * Reference outputs of the published PyTorch implementations, and what is needed to compare with them. The folder is named by the
 * system property {@code lram.golden}; without it the files among the test resources are used.
 */
package ai.lram.backend.golden;
