"""The tab "Pretrain Monitor": a TensorBoard plugin that reads run logs at full resolution."""
