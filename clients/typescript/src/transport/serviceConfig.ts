// clients/service_config.json, verbatim: all languages share it (a test compares them).
export const serviceConfig = `{
  "loadBalancingConfig": [{ "round_robin": {} }],
  "methodConfig": [
    {
      "name": [
        { "service": "tokenstreaming.v1.TokenStream", "method": "GenerateText" },
        { "service": "tokenstreaming.v1.TokenStream", "method": "CancelGeneration" },
        { "service": "tokenstreaming.v1.TokenStream", "method": "GetGeneration" },
        { "service": "tokenstreaming.v1.TokenStream", "method": "CountTokens" },
        { "service": "tokenstreaming.v1.TokenStream", "method": "ListModels" }
      ],
      "retryPolicy": {
        "maxAttempts": 3,
        "initialBackoff": "0.05s",
        "maxBackoff": "1s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"]
      }
    }
  ]
}
`;
